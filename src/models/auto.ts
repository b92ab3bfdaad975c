import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { readGguf } from '../formats/gguf';
import { resolveModel } from '../hub/resolve';
import { Tokenizer } from '../tokenizers/tokenizer';
import { CausalLM } from './causal_lm';
import { type LoadOptions, loadModel } from './loading';

type Options = Partial<LoadOptions> & Record<string, unknown>;

/** Models that predict the next token: `await AutoModelForCausalLM.from_pretrained('HuggingFaceTB/SmolLM2-135M-Instruct')`. */
export class AutoModelForCausalLM {
  /** Loads a model that predicts the next token, by Hub id or path: a GGUF file or a folder. See `loadModel`. */
  static from_pretrained(nameOrPath: string, options: Options = {}): Promise<CausalLM> {
    return loadModel(CausalLM, nameOrPath, options);
  }
}

/** Tokenizers of models: `await AutoTokenizer.from_pretrained('HuggingFaceTB/SmolLM2-135M-Instruct')`. */
export class AutoTokenizer {
  /** The tokenizer of a model by Hub id or path, or one saved in a folder of its own. */
  static async from_pretrained(nameOrPath: string): Promise<Tokenizer> {
    if (existsSync(join(nameOrPath, 'tokenizer.json'))) return Tokenizer.fromFolder(nameOrPath);
    const found = await resolveModel(nameOrPath);
    if (found.kind === 'folder') return Tokenizer.fromFolder(found.path);
    if (existsSync(join(dirname(found.path), 'tokenizer.json'))) return Tokenizer.fromFolder(dirname(found.path));
    return Tokenizer.fromGguf((await readGguf(found.path)).metadata, found.path);
  }
}
