import { OptionError } from '../core/errors';
import { show } from '../core/options';
import { endpoint } from './settings';

export type RepoType = 'model' | 'dataset';

export interface Repo {
  type: RepoType;
  /** 'name' or 'owner/name' */
  id: string;
}

/** A repository's name, checked as huggingface_hub checks it; undefined where the Hub can have none of that name. */
export function repoOf(id: string, type: RepoType = 'model'): Repo | undefined {
  const fits =
    /^([\w.-]+\/)?[\w.-]{1,96}$/.test(id) &&
    !/--|\.\./.test(id) &&
    !id.endsWith('.git') &&
    id.split('/').every((part) => !/^[-.]|[-.]$/.test(part));
  return fits ? { type, id } : undefined;
}

/** The same, for those who have to have one. */
export function checkedRepo(id: unknown, type: RepoType = 'model'): Repo {
  const repo = typeof id === 'string' ? repoOf(id, type) : undefined;
  if (!repo)
    throw new OptionError(
      `${show(id)} is no name of a repository: it is 'owner/name', of letters, digits, '-', '_' and '.', neither at the ends nor twice in a row.`,
    );
  return repo;
}

/** Its folder in the cache: models--owner--name. */
export const folderName = ({ type, id }: Repo): string => [`${type}s`, ...id.split('/')].join('--');

/** What stands before the name in the Hub's addresses. */
const prefix = (type: RepoType): string => (type === 'model' ? '' : `${type}s/`);

/** A page for people. */
export const pageOf = ({ type, id }: Repo): string => `${endpoint()}/${prefix(type)}${id}`;

export const apiOf = ({ type, id }: Repo): string => `${endpoint()}/api/${type}s/${id}`;

export const fileUrl = (repo: Repo, revision: string, file: string): string =>
  `${pageOf(repo)}/resolve/${encodeURIComponent(revision)}/${file.split('/').map(encodeURIComponent).join('/')}`;

/** Whether a name that came from elsewhere stays inside the folder it is put into. */
export const staysInside = (file: string): boolean =>
  file !== '' &&
  !/[\\\0]/.test(file) &&
  !/^[A-Za-z]:/.test(file) &&
  file.split('/').every((part) => part !== '' && part !== '.' && part !== '..');

/** Whether it is a whole commit, which never changes. */
export const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);
