import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { findModel, resolveModel } from '../../src/hub/resolve';
import { AutoModelForCausalLM, AutoTokenizer } from '../../src/index';
import { scratch, TINY, tinyLlama } from '../tiny';

it('a name that is nowhere says where was looked and offers the nearest', async () => {
  await expect(resolveModel('HuggingFaceTB/SmolLM2-135M-Instrukt')).rejects.toThrow(
    /No model 'HuggingFaceTB\/SmolLM2-135M-Instrukt'.*Did you mean 'HuggingFaceTB\/SmolLM2-135M-Instruct'/,
  );
  await expect(resolveModel('meta-llama/Llama-2-7b-hf')).rejects.toThrow(
    /there is no folder.*'meta-llama\/Llama-2-7b-hf' is not in the cache.*HF_HUB_OFFLINE is set. Load it once with a network/,
  );
});

it("finds models in Python's cache", async () => {
  const home = scratch('hf');
  const folder = join(home, 'models--a--b');
  mkdirSync(join(folder, 'refs'), { recursive: true });
  mkdirSync(join(folder, 'snapshots', 'abc'), { recursive: true });
  writeFileSync(join(folder, 'refs', 'main'), 'abc');
  writeFileSync(join(folder, 'snapshots', 'abc', 'config.json'), '{}');
  writeFileSync(join(folder, 'snapshots', 'abc', 'model.safetensors'), '');
  process.env.HF_HUB_CACHE = home;
  const found = { name: 'a/b', path: join(folder, 'snapshots', 'abc'), kind: 'folder' };
  expect(await resolveModel('a/b')).toEqual(found);
  expect(findModel('a/b')).toEqual(found);
  // Of two GGUF files it is not clear which is meant.
  for (const name of ['a.gguf', 'b.gguf']) writeFileSync(join(folder, 'snapshots', 'abc', name), '');
  rmSync(join(folder, 'snapshots', 'abc', 'config.json'));
  expect(findModel('a/b')).toBeUndefined();
  delete process.env.HF_HUB_CACHE;
});

it('files that are no models are named', async () => {
  const folder = scratch();
  writeFileSync(join(folder, 'a.gguf'), 'nonsense that is long enough');
  await expect(AutoModelForCausalLM.from_pretrained(join(folder, 'a.gguf'))).rejects.toThrow(/not a GGUF file: it begins with "nons"/);
  const unknown: [config: object, said: RegExp][] = [
    [{ model_type: 'olmo2' }, /architecture 'olmo2', which tunebook does not have; it has .*llama, .*qwen3/],
    [{ model_type: 'mixtral', num_local_experts: 8 }, /'mixtral', which tunebook does not have \(.* a mixture of experts\); it has/],
    [{ model_type: 'newest', num_experts: 8 }, /\(tunebook has no models with a mixture of experts\)/],
    [{ model_type: 'gpt_oss' }, /experts/],
    [{ model_type: 'gemma3', vision_config: {}, text_config: { model_type: 'gemma3_text' } }, /images; the model for text.*'gemma3_text'/],
    [{ model_type: 'qwen2_5_vl', vision_config: {} }, /with images\)/],
    [{ model_type: 'voxtral', audio_config: {} }, /with audio\)/],
    [{ model_type: 'mamba' }, /states instead of attention/],
    [{ model_type: 't5', is_encoder_decoder: true }, /an encoder/],
    [{}, /architecture 'undefined', which tunebook does not have; it has/],
  ];
  for (const [config, said] of unknown) {
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
    await expect(AutoModelForCausalLM.from_pretrained(folder)).rejects.toThrow(said);
  }
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
