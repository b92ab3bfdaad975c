import { join, resolve } from 'node:path';

/** The library of llama.cpp that packs values, out of npm's node-llama-cpp. */
export function libggml(): string {
  const [system, ending] = process.platform === 'darwin' ? ['mac', 'dylib'] : ['linux', 'so'];
  const name = `${system}-${process.arch}`;
  return join(resolve(__dirname, '..'), 'node_modules', '@node-llama-cpp', name, 'bins', name, `libggml-base.${ending}`);
}
