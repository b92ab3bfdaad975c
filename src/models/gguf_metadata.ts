import { FileError } from '../core/errors';
import { warnOnce } from '../core/events';
import { show } from '../core/options';
import type { Gguf, GgufValue } from '../formats/gguf';
import { GenerationConfig } from '../generate/generation_config';
import { checkKeys, type KeyTable } from './keys';

/** What metadata outside of the architecture says: which kind of file it is. */
const FILE_KEYS: KeyTable = {
  'general.type': { refused: 'a model is expected', unless: ['model'] },
};
/** Descriptions, and what the tokenizer reads. */
const ELSEWHERE = /^(general|tokenizer|split|quantize|imatrix)\./;

/** Refuses what a file's metadata asks for and its architecture's table does not have as obeyed or off. */
export function checkMetadata(gguf: Gguf, architecture: string, keys: KeyTable): void {
  const own: [string, GgufValue][] = [];
  const other: [string, GgufValue][] = [];
  for (const [key, value] of gguf.metadata) {
    if (key.startsWith(`${architecture}.`)) own.push([key.slice(architecture.length + 1), value]);
    else other.push([key, value]);
  }
  checkKeys(own, keys, gguf.path, (key, value) => {
    if (value !== 0 && value !== false)
      throw new FileError(
        `${gguf.path} sets ${architecture}.${key} to ${show(value)}, which tunebook does not have for this architecture.`,
      );
  });
  const strange: string[] = [];
  checkKeys(other, FILE_KEYS, gguf.path, (key) => {
    if (!ELSEWHERE.test(key)) strange.push(key);
  });
  if (strange.length)
    warnOnce(`${gguf.path} has metadata that is no part of its architecture ${architecture}, and is ignored: ${strange.join(', ')}.`);
}

/** A number of the architecture's own metadata. */
export type GetNumber = (key: string) => number | undefined;
export const numbersOf =
  (gguf: Gguf, architecture: string): GetNumber =>
  (key) => {
    const value = gguf.metadata.get(`${architecture}.${key}`);
    return (typeof value === 'bigint' ? Number(value) : value) as number | undefined;
  };

/** llama.cpp ends an answer at the end of a turn and of a message too, where a file names them. */
export function tokenIds(metadata: Map<string, GgufValue>): Record<string, unknown> {
  const token = (key: string) => metadata.get(`tokenizer.ggml.${key}_token_id`) as number | undefined;
  const ends = [...new Set([token('eos'), token('eot'), token('eom')].filter((id) => id !== undefined))];
  return { bos_token_id: token('bos'), eos_token_id: ends.length > 1 ? ends : ends[0], pad_token_id: token('padding') };
}

/** What a file says of generation: its end tokens, and settings of sampling that transformers has too. */
export function ggufGenerationConfig(metadata: Map<string, GgufValue>): GenerationConfig {
  const sampling: Record<string, string> = { temp: 'temperature', top_k: 'top_k', top_p: 'top_p', min_p: 'min_p' };
  const found = Object.entries(sampling).map(([from, to]) => [to, metadata.get(`general.sampling.${from}`)]);
  const other = [...metadata.keys()].filter((key) => /^general\.sampling\./.test(key) && !Object.hasOwn(sampling, key.slice(17)));
  if (other.length)
    warnOnce(`A GGUF file's ${other.join(', ')} are settings of llama.cpp's sampler that tunebook does not have; they are ignored.`);
  return new GenerationConfig({ ...tokenIds(metadata), ...Object.fromEntries(found), _from_model_config: true });
}
