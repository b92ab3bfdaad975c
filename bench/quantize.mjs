// Quantising 1 GB of bf16 values to NF4 with double quantisation, and what a model takes once it is packed so. Prints figures as one JSON
// object on its last line. See run.mjs.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import process from 'node:process';

const require = createRequire(import.meta.url);
const tb = require('../lib/index.js');
const { MatrixWriter } = require('../lib/engine/matrix_writer.js');
const { bf16, nf4_dq } = require('../lib/quantize/index.js');
const { cacheFolder } = require('../scripts/native.cjs');
const resident = () => Number(readFileSync('/proc/self/status', 'utf8').match(/VmRSS:\s+(\d+)/)[1]) * 1024;

await tb.startBackend();
if (process.argv[2] === 'resident') {
  // Garbage of starting up and of loading is none of the model's: it is collected at the next need.
  const settled = () => {
    for (let i = 0; i < 3; i++) globalThis.gc();
    return resident();
  };
  const quantization_config = new tb.BitsAndBytesConfig({
    load_in_4bit: true,
    bnb_4bit_quant_type: 'nf4',
    bnb_4bit_use_double_quant: true,
  });
  const floor = settled();
  const folder = join(cacheFolder(), 'bench', 'SmolLM2-135M-fp32');
  const model = await tb.AutoModelForCausalLM.from_pretrained(folder, { progress: false, dtype: 'bfloat16', quantization_config });
  const after = settled();
  const packed = model.weightBytes();
  console.log(JSON.stringify({ floor, after, packed, ratio: (after - floor) / packed }));
} else {
  // Twelve matrices of Llama-2-7B's, in pieces of 4 MiB, as files give them.
  const [rows, columns] = [11008, 4096];
  const piece = new Uint8Array(4 << 20);
  const halves = new Uint16Array(piece.buffer);
  for (let i = 0; i < halves.length; i++) halves[i] = 0x3c00 + ((i * 2654435761) % 512) + (i % 2 ? 0x8000 : 0);
  const few = piece.length / 2 / columns;
  const all = () => {
    for (let matrix = 0; matrix < 12; matrix++) {
      const writer = new MatrixWriter(nf4_dq, [rows, columns]);
      for (let at = 0; at < rows; at += few) writer.add(piece.subarray(0, Math.min(few, rows - at) * columns * 2), bf16);
      writer.finish().dispose();
    }
  };
  const start = performance.now();
  all();
  const seconds = (performance.now() - start) / 1000;
  console.log(JSON.stringify({ gigabytesPerSecond: (12 * rows * columns * 2) / 1e9 / seconds, seconds }));
}
