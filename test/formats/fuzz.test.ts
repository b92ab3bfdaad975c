import { expect, it, vi } from 'vitest';
import { survives } from './fuzz';
import { TARGETS } from './targets';

vi.spyOn(console, 'warn').mockImplementation(() => {}); // of keys that nobody knows, thousands

/** The readers that the product answers for first, and fewer of what they are made of; the deep tier reads 200,000 of each. */
const FIRST = [
  'safetensors',
  'GGUF',
  'parquet',
  'tokenizer.json',
  'config.json',
  "an adapter's safetensors",
  'adapter_config.json',
  'a GGUF adapter',
];
const ROUNDS = Number(process.env.TUNEBOOK_FUZZ_ROUNDS ?? 0);

for (const [name, make] of Object.entries(TARGETS))
  it(`${name}: damaged in many ways, it is read or refused in words`, async () => {
    const rounds = ROUNDS || (FIRST.includes(name) ? 5000 : 500);
    const from = performance.now();
    const refused = await survives(await make(), rounds);
    if (ROUNDS) console.log(`${name}: ${refused} of ${rounds} refused, ${((performance.now() - from) / rounds).toFixed(2)} ms each`);
    expect(refused).toBeGreaterThan(0);
  });
