import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { emit } from '../core/events';
import { readOptions } from '../core/options';
import type { RepoType } from './repo';
import { PUSH_ALIASES, PUSH_DEFAULTS, type Pushed, type PushOptions, pushFolder } from './upload';

export type GivenPush = Partial<PushOptions> & Record<string, unknown>;

/** Says where something was pushed to. */
export function tellPushed({ repo_url, commit_url, pr_url }: Pushed): void {
  const text = pr_url ? `Pushed as a pull request: ${pr_url}` : commit_url ? `Pushed to ${repo_url}` : `${repo_url} has all of it already.`;
  emit('progress', { id: 'push', text, done: true });
}

/**
 * Pushes what `save` writes into a folder: what push_to_hub of models, tokenizers and data sets does.
 * @param what is named in the commit's message
 */
export async function pushSaved(
  repo_id: string,
  given: GivenPush,
  what: string,
  save: (folder: string) => Promise<void>,
  type: RepoType = 'model',
): Promise<Pushed> {
  const options = readOptions('push_to_hub', given, PUSH_DEFAULTS, PUSH_ALIASES);
  const folder = await mkdtemp(join(tmpdir(), 'tunebook-push-'));
  try {
    await save(folder);
    const pushed = await pushFolder(repo_id, folder, options, { type, message: `Upload ${what}` });
    tellPushed(pushed);
    return pushed;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
