// The runs whose memory is estimated and measured; see memory.mjs.
import { createRequire } from 'node:module';
import { join } from 'node:path';

const { cacheFolder } = createRequire(import.meta.url)('../scripts/native.cjs');

export const packaged = 'HuggingFaceTB/SmolLM2-135M-Instruct';
export const folder = join(cacheFolder(), 'bench', 'SmolLM2-135M-fp32');
const nf4 = { load_in_4bit: true, bnb_4bit_quant_type: 'nf4', bnb_4bit_use_double_quant: true };
export const SETTINGS = {
  'LoRA r = 16, 4 x 512': { name: packaged, lora: 16, batch: 4, length: 512 },
  'LoRA r = 64, 2 x 1,024, 8-bit Adam': { name: packaged, lora: 64, batch: 2, length: 1024, optimizer: 'adamw_8bit' },
  'LoRA r = 16 on bf16 weights, recomputed': { name: folder, dtype: 'bfloat16', lora: 16, batch: 2, length: 1024, checkpointing: true },
  'QLoRA r = 16, NF4 twice, 1 x 2,048': {
    name: folder,
    quantization: nf4,
    lora: 16,
    batch: 1,
    length: 2048,
    optimizer: 'paged_adamw_8bit',
  },
  'all weights, 4 x 256': { name: packaged, lora: null, batch: 4, length: 256 },
};
