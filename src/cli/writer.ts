import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readJson } from '../formats/json';
import { AutoModelForCausalLM, AutoTokenizer } from '../models/auto';
import { PeftModel } from '../peft/model';
import { type PipelineOptions, pipeline, type TextGenerationPipeline } from '../pipelines/text_generation';
import { BitsAndBytesConfig } from '../quantize';

/** How commands load what writes. */
export const LOADING = [
  { name: 'adapter', about: 'An adapter beside the model: a name of the Hub or a folder.', type: 'string' },
  { name: 'dtype', about: 'What matrices that are not quantised are kept in: auto, float32 or bfloat16.', type: 'string' },
  { name: 'load_in_4bit', about: 'Pack the matrices as NF4 while they are loaded.', type: 'boolean' },
  { name: 'load_in_8bit', about: 'Pack the matrices into 8 bits while they are loaded.', type: 'boolean' },
];
export const GENERATION = [{ name: 'seed', about: 'Draws the tokens where do_sample is on. Default: 42.', type: 'number' }];

interface Loading {
  adapter?: string;
  dtype?: string;
  load_in_4bit?: boolean;
  load_in_8bit?: boolean;
}

/** A folder that holds an adapter alone names its base model. */
export async function baseAndAdapter(model: string, adapter?: string): Promise<{ base: string; adapter?: string }> {
  const config = join(model, 'adapter_config.json');
  if (adapter || !existsSync(config)) return { base: model, adapter };
  return { base: String((await readJson(config)).base_model_name_or_path), adapter: model };
}

/** A model, with an adapter where one is named, that writes; and the options that are generation's own. */
export async function loadWriter(
  model: string,
  { adapter: given, dtype = 'auto', load_in_4bit, load_in_8bit, ...options }: Loading & Record<string, unknown>,
): Promise<{ pipe: TextGenerationPipeline; options: PipelineOptions }> {
  const { base, adapter } = await baseAndAdapter(model, given);
  const how = load_in_4bit
    ? { load_in_4bit, bnb_4bit_quant_type: 'nf4' as const, bnb_4bit_use_double_quant: true }
    : load_in_8bit && { load_in_8bit };
  const loaded = await AutoModelForCausalLM.from_pretrained(base, { dtype, quantization_config: how ? new BitsAndBytesConfig(how) : null });
  const tokenizer = await AutoTokenizer.from_pretrained(base);
  const writes = adapter ? await PeftModel.from_pretrained(loaded, adapter) : loaded;
  return { pipe: await pipeline('text-generation', writes, { tokenizer }), options: options as PipelineOptions };
}
