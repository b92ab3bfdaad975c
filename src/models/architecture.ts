import type { Gguf } from '../formats/gguf';
import type { ModelConfig } from './config';
import type { Decoder } from './decoder';
import type { KeyTable } from './keys';
import type { GgufNames, Layout, WeightSource } from './source';

/** Told of each block that is loaded. */
export type Report = (done: number, of: number) => void;

/** How GGUF files of an architecture are read. */
export interface GgufReader<C> {
  /** Their general.architecture, where it is not the model_type. */
  architecture?: string;
  /** What becomes of each of its metadata keys, without its name before them. */
  keys: KeyTable;
  /** A file's metadata in config.json's terms; its `model_type` says whose reader they go to. */
  config(gguf: Gguf): Promise<Record<string, unknown>>;
  names(config: C): GgufNames;
}

/** What is one architecture's own: one file each. Heads are put beside its decoder. */
export interface Architecture<C extends ModelConfig = ModelConfig> {
  /** config.json's. */
  model_type: string;
  /** What transformers' classes begin with: 'Llama' of LlamaForCausalLM. */
  name: string;
  /** transformers' classes by their ends ('ForCausalLM'), where they are called otherwise. */
  classes?: Record<string, string>;
  /** What its parts are called in its files; by default as in Llama's. */
  layout?: Layout;
  /** What becomes of each key of config.json. */
  keys: KeyTable;
  /** config.json, of transformers 5 or earlier, with its defaults filled in; `name` is the model's in errors. */
  config(json: Record<string, unknown>, name: string): C;
  decoder(config: C, source: WeightSource, report: Report): Promise<Decoder>;
  gguf?: GgufReader<C>;
}
