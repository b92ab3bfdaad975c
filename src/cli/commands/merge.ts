import type { Command } from 'commander';
import '../listening';
import { OptionError } from '../../core/errors';
import { baseAndAdapter, loadAdapted } from '../writer';

interface Given {
  base_model?: string;
  dtype: string;
  gguf?: string;
}

async function merge(adapter: string, output: string, { base_model, dtype, gguf }: Given): Promise<void> {
  const { base } = base_model ? { base: base_model } : await baseAndAdapter(adapter);
  if (base === adapter)
    throw new OptionError(`${adapter} is no folder of a saved adapter. For one from the Hub name its model too: --base_model owner/name.`);
  const { peft, tokenizer } = await loadAdapted(base, adapter);
  const merged = await peft.merge_and_unload({ dtype });
  if (gguf === undefined) {
    await merged.save_pretrained(output);
    await tokenizer.save_pretrained(output);
  } else await merged.save_pretrained_gguf(output, tokenizer, { quantization_method: gguf });
  console.log(`Merged ${adapter} into ${base}: ${output}`);
}

/** Merges an adapter into its base model. */
export function define(command: Command): void {
  command
    .argument('<adapter>', 'the folder of a saved adapter')
    .argument('<output>', 'the folder that the merged model is written to')
    .option('--base_model <model>', 'the base model; by default the one that the adapter names')
    .option('--dtype <type>', 'what merged matrices are kept in: bfloat16 or float32', 'bfloat16')
    .option('--gguf <method>', "write llama.cpp's file instead, quantised so: q4_k_m, q8_0, f16, ...")
    .action(merge);
}
