import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { writeSafetensors } from '../../src/formats/safetensors';
import { inspect } from '../../src/index';
import { peer } from '../peer';
import { saveConfig } from '../peft/saved';
import { scratch } from '../tiny';

/** Shapes with odd sizes, ranks at and above a side, and updates that use only some of their directions. */
const MODULES: [out: number, into: number, r: number, used: number][] = [
  [1024, 1024, 16, 16],
  [37, 61, 5, 5],
  [8, 300, 16, 8],
  [300, 7, 16, 7],
  [520, 1030, 64, 64],
  [128, 96, 12, 3],
  [64, 64, 1, 1],
  [64, 64, 8, 0],
];

async function adapter(seed: number): Promise<string> {
  const random = Random.seeded(seed);
  const folder = scratch('adapter');
  const tensors = MODULES.flatMap(([out, into, r, used], i) => {
    const name = `base_model.model.model.layers.${i}.mlp.up_proj`;
    // Directions of falling size, over seven powers of ten; those beyond `used` repeat the first or are zero.
    const base = Array.from({ length: Math.max(used, 1) }, () => Array.from({ length: into }, () => random.normal()));
    const a = Array.from({ length: r }, (_, k) => base[k % base.length].map((v) => v * 10 ** ((-3.5 * k) / r)));
    const b = Array.from({ length: out * r }, (_, k) => (used ? random.normal() * 10 ** ((-3.5 * (k % r)) / r) : 0));
    return [
      { name: `${name}.lora_A.weight`, shape: [r, into], data: Float32Array.from(a.flat()) },
      { name: `${name}.lora_B.weight`, shape: [out, r], data: Float32Array.from(b) },
    ];
  });
  await writeSafetensors(join(folder, 'adapter_model.safetensors'), tensors);
  saveConfig(folder, { r: 16, lora_alpha: 32, rank_pattern: {}, peft_type: 'LORA', base_model_name_or_path: 'base' });
  return folder;
}

it("singular values and overlaps are numpy's, of the dense product, to 1e-5", async () => {
  const [folder, other] = [await adapter(1), await adapter(2)];
  type Found = Record<string, { sigma: number[]; reads: number; writes: number }>;
  const report = await inspect(folder, { compare: other });
  const found = peer<Found>('spectra', { folder, other });
  for (const [i, { name, singular, rank, delta }] of report.modules.entries()) {
    const { sigma, reads, writes } = found[name];
    const scaled = sigma.map((value) => (32 / rank) * value);
    for (const [k, value] of singular.entries())
      expect(Math.abs(value - (scaled[k] ?? 0)) / Math.max(scaled[0], 1e-30), `${name} ${k}`).toBeLessThan(1e-5);
    expect(delta / Math.max(Math.hypot(...scaled), 1e-30)).toBeCloseTo(scaled[0] ? 1 : 0, 6);
    expect(report.data.overlap!.reads[i], `${name} reads`).toBeCloseTo(reads, 4);
    expect(report.data.overlap!.writes[i], `${name} writes`).toBeCloseTo(writes, 4);
  }
  const same = await inspect(folder, { compare: folder });
  for (const [i, [, , , used]] of MODULES.entries()) if (used) expect(same.data.overlap!.reads[i]).toBeCloseTo(1, 6);
});
