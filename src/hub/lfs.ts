import { HubError } from '../core/errors';
import { ask, jsonOf } from './http';
import { Progress } from './progress';
import { type About, refusal } from './refusal';
import { pageOf } from './repo';
import { sendFile } from './send';
import { onEndpoint, RANGES } from './settings';
import { bearer } from './shelf';
import type { Addition } from './upload';

const LFS = { accept: 'application/vnd.git-lfs+json', 'content-type': 'application/vnd.git-lfs+json' };

interface Action {
  href: string;
  header?: Record<string, string>;
}
interface Told {
  oid: string;
  actions?: { upload?: Action; verify?: Action };
  error?: { code?: number; message?: string };
}

export interface Large {
  file: Addition;
  oid: string;
}

/** Sends large files to where the Hub wants them (git-lfs's batch API, with the Hub's own way of sending parts). Those it has are not sent. */
export async function uploadLarge(about: About, files: Large[], revision: string): Promise<void> {
  const progress = new Progress(
    about.repo.id,
    files.reduce((sum, { file }) => sum + file.size, 0),
    { doing: 'Uploading', done: 'Uploaded' },
  );
  for (let i = 0; i < files.length; i += 256) {
    const some = files.slice(i, i + 256);
    const answer = await ask(`${pageOf(about.repo)}.git/info/lfs/objects/batch`, {
      method: 'POST',
      headers: { ...LFS, ...bearer(about.token) },
      body: JSON.stringify({
        operation: 'upload',
        transfers: ['basic', 'multipart'],
        objects: some.map(({ file, oid }) => ({ oid, size: file.size })),
        hash_algo: 'sha256',
        ref: { name: revision },
      }),
    });
    if (!answer.ok) throw await refusal(answer, about);
    const { objects } = await jsonOf<{ objects?: Told[] }>(answer);
    for (const large of some) {
      const told = objects?.find(({ oid }) => oid === large.oid);
      if (!told || told.error)
        throw new HubError(
          `${large.file.path} cannot be uploaded: ${told?.error?.message ?? 'the Hub did not say where to'}.`,
          told?.error?.code,
        );
      await uploadOne(about, large, told, (bytes) => progress.add(bytes));
    }
  }
  progress.end();
}

async function uploadOne(about: About, large: Large, { actions }: Told, report: (bytes: number) => void): Promise<void> {
  const { file, oid } = large;
  if (!actions?.upload) return report(file.size);
  const { href, header = {} } = actions.upload;
  if (header.chunk_size === undefined) await put(onEndpoint(href), file, [0, file.size], report);
  else await uploadParts(large, onEndpoint(href), header, report);
  if (!actions.verify) return;
  const answer = await ask(onEndpoint(actions.verify.href), {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...bearer(about.token) },
    body: JSON.stringify({ oid, size: file.size }),
  });
  if (!answer.ok) throw await refusal(answer, about);
  await answer.body?.cancel();
}

/** A file in parts, each to an address of its own; then they are put together. */
async function uploadParts(
  { file, oid }: Large,
  complete: string,
  header: Record<string, string>,
  report: (bytes: number) => void,
): Promise<void> {
  const size = Number(header.chunk_size);
  const parts = Object.entries(header)
    .filter(([number]) => /^\d+$/.test(number))
    .map(([number, url]) => ({ partNumber: Number(number), url, etag: '' }))
    .sort((a, b) => a.partNumber - b.partNumber);
  if (!(size > 0) || parts.length !== Math.ceil(file.size / size))
    throw new HubError(
      `${file.path} cannot be uploaded: the Hub gave ${parts.length} addresses for its parts of ${header.chunk_size} bytes.`,
    );
  const waiting = [...parts];
  const worker = async () => {
    for (let part = waiting.shift(); part; part = waiting.shift()) {
      const from = (part.partNumber - 1) * size;
      part.etag = (await put(part.url, file, [from, Math.min(file.size, from + size)], report)).get('etag') ?? '';
      if (!part.etag) throw new HubError(`${file.path} cannot be uploaded: part ${part.partNumber} came without an ETag.`);
    }
  };
  const workers = Array.from({ length: RANGES.connections }, () =>
    worker().catch((error) => {
      waiting.length = 0;
      throw error;
    }),
  );
  // None still reads the file when an error is told.
  for (const end of await Promise.allSettled(workers)) if (end.status === 'rejected') throw end.reason;
  const body = JSON.stringify({ oid, parts: parts.map(({ partNumber, etag }) => ({ partNumber, etag })) });
  const answer = await ask(complete, { method: 'POST', headers: LFS, body, timeout: 0 });
  if (!answer.ok)
    throw new HubError(`${file.path} could not be put together from its parts (status ${answer.status}). Push it again.`, answer.status);
  await answer.body?.cancel();
}

/** Bytes of a file to a signed address, which gets no token. */
async function put(url: string, file: Addition, [from, to]: [number, number], report: (bytes: number) => void): Promise<Headers> {
  const { status, headers } = await sendFile(url, { path: file.from, from, to }, report);
  if (status < 200 || status > 299)
    throw new HubError(`${file.path} could not be uploaded: the storage answered with status ${status}. Push it again.`, status);
  return headers;
}
