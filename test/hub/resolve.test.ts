import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { resolveModel } from '../../src/hub/resolve';
import { AutoModelForCausalLM, AutoTokenizer } from '../../src/index';
import { scratch, TINY, tinyLlama } from '../tiny';

it('a name that is nowhere says where was looked and offers the nearest', async () => {
  await expect(resolveModel('HuggingFaceTB/SmolLM2-135M-Instrukt')).rejects.toThrow(
    /No model 'HuggingFaceTB\/SmolLM2-135M-Instrukt'.*Did you mean 'HuggingFaceTB\/SmolLM2-135M-Instruct'/,
  );
  await expect(resolveModel('meta-llama/Llama-2-7b-hf')).rejects.toThrow(
    /not a folder.*not in the Hugging Face cache.*huggingface-cli download meta-llama\/Llama-2-7b-hf/,
  );
});

it("finds models in Python's cache", async () => {
  const home = scratch('hf');
  const folder = join(home, 'models--a--b');
  mkdirSync(join(folder, 'refs'), { recursive: true });
  mkdirSync(join(folder, 'snapshots', 'abc'), { recursive: true });
  writeFileSync(join(folder, 'refs', 'main'), 'abc');
  writeFileSync(join(folder, 'snapshots', 'abc', 'config.json'), '{}');
  process.env.HF_HUB_CACHE = home;
  expect(await resolveModel('a/b')).toEqual({ name: 'a/b', path: join(folder, 'snapshots', 'abc'), kind: 'folder' });
  delete process.env.HF_HUB_CACHE;
});

it('files that are no models are named', async () => {
  const folder = scratch();
  writeFileSync(join(folder, 'a.gguf'), 'nonsense that is long enough');
  await expect(AutoModelForCausalLM.from_pretrained(join(folder, 'a.gguf'))).rejects.toThrow(/not a GGUF file: it begins with "nons"/);
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ model_type: 'mamba' }));
  await expect(AutoModelForCausalLM.from_pretrained(folder)).rejects.toThrow(
    /architecture 'mamba', which tunebook does not have; it has llama/,
  );
  writeFileSync(join(folder, 'config.json'), JSON.stringify(TINY));
  await expect(AutoModelForCausalLM.from_pretrained(folder)).rejects.toThrow(/has no model.safetensors/);
  await expect(AutoTokenizer.from_pretrained(folder)).rejects.toThrow(/has no tokenizer.json/);
  const tiny = await tinyLlama();
  writeFileSync(
    join(tiny, 'config.json'),
    JSON.stringify({
      model_type: 'llama',
      vocab_size: 99,
      hidden_size: 32,
      intermediate_size: 48,
      num_hidden_layers: 2,
      num_attention_heads: 4,
    }),
  );
  await expect(AutoModelForCausalLM.from_pretrained(tiny)).rejects.toThrow(
    /embed_tokens.weight is \[264,32\], but config.json asks for \[99,32\]/,
  );
});
