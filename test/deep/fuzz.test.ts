import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { load_dataset } from '../../src/data/load_dataset';
import { readGguf } from '../../src/formats/gguf';
import { readSafetensors, writeSafetensors } from '../../src/formats/safetensors';
import { AutoTokenizer, LoraConfig } from '../../src/index';
import { AutoModelForCausalLM } from '../../src/models/auto';
import { PeftModel } from '../../src/peft/model';
import { damage, smallGguf } from '../formats/damage';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

const OURS = ['FileError', 'DataError', 'OptionError', 'ShapeError'];

/** Reads damaged copies: each must give a value, or an error of ours that a user can act on. */
async function survives(bytes: Buffer, path: string, read: () => Promise<unknown>, rounds: number): Promise<void> {
  const random = Random.seeded(99);
  for (let i = 0; i < rounds; i++) {
    writeFileSync(path, damage(bytes, random));
    await read().catch((error: Error) => {
      expect(OURS, `round ${i}: ${error.stack}`).toContain(error.name);
    });
  }
}

describe('damaged files, many of them', () => {
  it('GGUF', () => {
    const path = join(scratch('fuzz'), 'a.gguf');
    return survives(smallGguf(), path, () => readGguf(path), 50_000);
  });
  it('safetensors', async () => {
    const path = join(scratch('fuzz'), 'a.safetensors');
    await writeSafetensors(path, [
      { name: 'a', shape: [2, 3], data: new Float32Array(6) },
      { name: 'b.weight', shape: [4], data: new Float32Array(4) },
    ]);
    await survives(readFileSync(path), path, () => readSafetensors(path), 50_000);
  });
  it('rows of JSONL', async () => {
    const path = join(scratch('fuzz'), 'rows.jsonl');
    const rows = Buffer.from([chatRow('a', 'b'), chatRow('ü', '漢字')].map((row) => JSON.stringify(row)).join('\n'));
    await survives(rows, path, () => load_dataset(path), 20_000);
  });
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    it(file, async () => {
      const folder = scratch('fuzz');
      await tinyTokenizer().save_pretrained(folder);
      const read = async () => (await AutoTokenizer.from_pretrained(folder)).encode('Hello, wörld');
      await survives(readFileSync(join(folder, file)), join(folder, file), read, 2_000);
    });
  for (const file of ['config.json', 'model.safetensors'])
    it(`a model's ${file}`, async () => {
      const folder = await tinyLlama(1, { num_hidden_layers: 1 });
      const read = async () => (await AutoModelForCausalLM.from_pretrained(folder, { progress: false })).dispose();
      await survives(readFileSync(join(folder, file)), join(folder, file), read, 2_000);
    });
  for (const file of ['adapter_config.json', 'adapter_model.safetensors'])
    it(`an adapter's ${file}`, async () => {
      const model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(1, { num_hidden_layers: 1 }), { progress: false });
      const folder = scratch('fuzz');
      const { get_peft_model } = await import('../../src/index');
      const peft = get_peft_model(model, new LoraConfig({ r: 2, target_modules: 'all-linear' }));
      await peft.save_pretrained(folder);
      peft.unload();
      const read = async () => (await PeftModel.from_pretrained(model, folder)).unload();
      await survives(readFileSync(join(folder, file)), join(folder, file), read, 2_000);
    });
});
