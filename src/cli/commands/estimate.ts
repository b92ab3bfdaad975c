import type { Command } from 'commander';
import '../listening';
import { OptionError } from '../../core/errors';
import { estimate_memory } from '../../train/estimate';
import { addOptions, declared } from '../options';

const PACKED: Record<string, Record<string, unknown>> = {
  nf4: { load_in_4bit: true, bnb_4bit_quant_type: 'nf4' },
  'nf4-double': { load_in_4bit: true, bnb_4bit_quant_type: 'nf4', bnb_4bit_use_double_quant: true },
  fp4: { load_in_4bit: true, bnb_4bit_quant_type: 'fp4' },
  int8: { load_in_8bit: true },
};

async function estimate(model: string, { quantization, ...given }: { quantization?: string } & Record<string, unknown>): Promise<void> {
  if (quantization !== undefined && !Object.hasOwn(PACKED, quantization))
    throw new OptionError(`estimate: quantization is '${quantization}'; it can be ${Object.keys(PACKED).join(', ')}.`);
  const found = await estimate_memory(model, { ...given, quantization: quantization === undefined ? null : PACKED[quantization] });
  console.log(String(found));
  if (!found.fits) process.exitCode = 1;
}

/** What training would take of the memory. */
export function define(command: Command): void {
  command
    .argument('<model>', 'a name of the Hub, a folder or a .gguf file')
    .option('--quantization <kind>', `how matrices are packed: ${Object.keys(PACKED).join(', ')}`);
  const lora = {
    name: 'lora',
    about: 'The rank of LoRA on all linear layers; null: all weights are trained. Default: 16.',
    type: 'number | null',
  };
  addOptions(command, [
    lora,
    ...declared('train/estimate', 'EstimateOptions').filter(({ name }) => !['lora', 'quantization'].includes(name)),
  ]);
  command.addHelpText('after', '\nExit code: 0 where it fits into the memory of this machine, 1 where it does not.').action(estimate);
}
