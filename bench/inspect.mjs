// Inspecting an adapter of Llama-2-7B's shape, as fp32 in one file. usage: inspect.mjs '{"rank": 16}'; prints one line of JSON.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

const require = createRequire(import.meta.url);
const { writeSafetensors } = require('../lib/formats/safetensors.js');
const { inspect } = require('../lib/index.js');
const { rank } = JSON.parse(process.argv[2]);

const SHAPES = [
  ...['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'self_attn.o_proj'].map((name) => [name, 4096, 4096]),
  ...['mlp.gate_proj', 'mlp.up_proj'].map((name) => [name, 11008, 4096]),
  ['mlp.down_proj', 4096, 11008],
];
let bits = 12345;
const values = (n) =>
  Float32Array.from({ length: n }, () => {
    bits = (Math.imul(bits, 1664525) + 1013904223) >>> 0;
    return bits / 2 ** 32 - 0.5;
  });
const folder = mkdtempSync(join(tmpdir(), 'tunebook-inspect-'));
try {
  const tensors = Array.from({ length: 32 }, (_, layer) =>
    SHAPES.flatMap(([name, out, into]) => {
      const path = `base_model.model.model.layers.${layer}.${name}`;
      return [
        { name: `${path}.lora_A.weight`, shape: [rank, into], data: () => values(rank * into) },
        { name: `${path}.lora_B.weight`, shape: [out, rank], data: () => values(out * rank) },
      ];
    }),
  ).flat();
  await writeSafetensors(join(folder, 'adapter_model.safetensors'), tensors);
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ peft_type: 'LORA', r: rank, lora_alpha: 32 }));
  const start = performance.now();
  const { modules } = await inspect(folder);
  const seconds = (performance.now() - start) / 1000;
  process.stdout.write(`${JSON.stringify({ seconds, modules: modules.length })}\n`);
} finally {
  rmSync(folder, { recursive: true });
}
