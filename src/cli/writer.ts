import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readJson } from '../formats/json';
import { resolveFile } from '../hub/resolve';
import { AutoModelForCausalLM, AutoTokenizer } from '../models/auto';
import type { CausalLM } from '../models/causal_lm';
import type { LoadOptions } from '../models/loading';
import { PeftModel } from '../peft/model';
import { type PipelineOptions, pipeline, type TextGenerationPipeline } from '../pipelines/text_generation';
import { BitsAndBytesConfig } from '../quantize';
import { SENTENCE_PIECE, type Tokenizer } from '../tokenizers/tokenizer';

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

/** The tokenizer beside an adapter, as trainers save it; undefined where there is none. */
async function tokenizerBeside(adapter: string): Promise<Tokenizer | undefined> {
  for (const file of ['tokenizer.json', ...SENTENCE_PIECE])
    if (await resolveFile(adapter, file)) return AutoTokenizer.from_pretrained(adapter);
  return undefined;
}

/** A model, with an adapter where one is named, and the tokenizer that the adapter was trained with. */
export async function loadAdapted<A extends string | undefined>(base: string, adapter: A, how: Partial<LoadOptions> = {}) {
  const model = await AutoModelForCausalLM.from_pretrained(base, how);
  const beside = adapter === undefined ? undefined : await tokenizerBeside(adapter);
  // As PEFT's AutoPeftModel: an adapter that was trained with more tokens brings rows for them.
  if (beside && beside.length > model.config.vocab_size) await model.resize_token_embeddings(beside.length);
  const tokenizer = beside ?? (await AutoTokenizer.from_pretrained(base));
  const peft = adapter === undefined ? undefined : await PeftModel.from_pretrained(model, adapter);
  return { model, tokenizer, peft: peft as A extends string ? PeftModel<CausalLM> : PeftModel<CausalLM> | undefined };
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
  const quantization_config = how ? new BitsAndBytesConfig(how) : null;
  const { model: loaded, tokenizer, peft } = await loadAdapted(base, adapter, { dtype, quantization_config });
  return { pipe: await pipeline('text-generation', peft ?? loaded, { tokenizer }), options: options as PipelineOptions };
}
