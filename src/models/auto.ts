import { readOptions } from '../core/options';
import { readGguf } from '../formats/gguf';
import { FIND_ALIASES, FIND_DEFAULTS, type FindOptions, resolveTokenizer } from '../hub/resolve';
import { Tokenizer } from '../tokenizers/tokenizer';
import { CausalLM } from './causal_lm';
import type { ModelConfig } from './config';
import { type LoadOptions, loadConfig, loadModel } from './loading';

type Options = Partial<LoadOptions> & Record<string, unknown>;
type Find = Partial<FindOptions> & Record<string, unknown>;

/** Models that predict the next token: `await AutoModelForCausalLM.from_pretrained('HuggingFaceTB/SmolLM2-135M-Instruct')`. */
export class AutoModelForCausalLM {
  /** Loads a model that predicts the next token, by Hub id or path: a GGUF file or a folder. See `loadModel`. */
  static from_pretrained(nameOrPath: string, options: Options = {}): Promise<CausalLM> {
    return loadModel(CausalLM, nameOrPath, options);
  }
}

/** Settings of models: `await AutoConfig.from_pretrained('HuggingFaceTB/SmolLM2-135M-Instruct')`. */
export class AutoConfig {
  /** What a model's config.json (or GGUF file) says, by Hub id or path; nothing else is fetched for it. */
  static from_pretrained(nameOrPath: string, options: Find = {}): Promise<ModelConfig> {
    return loadConfig(nameOrPath, readOptions('AutoConfig.from_pretrained', options, FIND_DEFAULTS, FIND_ALIASES));
  }
}

/** Tokenizers of models: `await AutoTokenizer.from_pretrained('HuggingFaceTB/SmolLM2-135M-Instruct')`. */
export class AutoTokenizer {
  /** The tokenizer of a model by Hub id or path, or one saved in a folder of its own. */
  static async from_pretrained(nameOrPath: string, options: Find = {}): Promise<Tokenizer> {
    const find = readOptions('AutoTokenizer.from_pretrained', options, FIND_DEFAULTS, ALIASES);
    const { kind, path } = await resolveTokenizer(nameOrPath, find);
    return kind === 'folder' ? Tokenizer.fromFolder(path) : Tokenizer.fromGguf((await readGguf(path)).metadata, path);
  }
}

const ALIASES = { ...FIND_ALIASES, use_fast: { to: null, why: 'tokenizers are always the fast ones' } };
