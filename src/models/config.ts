import { FileError } from '../core/errors';
import { show } from '../core/options';

/** What config.json says, in its own names, plus where the model came from. */
export interface ModelConfig {
  model_type: string;
  vocab_size: number;
  hidden_size: number;
  num_hidden_layers: number;
  max_position_embeddings: number;
  tie_word_embeddings: boolean;
  bos_token_id?: number | null;
  eos_token_id?: number | number[] | null;
  pad_token_id?: number | null;
  _name_or_path: string;
  [name: string]: unknown;
}

/** Fails where a size in a model's configuration is no whole number above 0; those in `optional` may be absent. */
export function checkSizes(json: Record<string, unknown>, needed: string[], optional: string[], name: string): void {
  for (const size of [...needed, ...optional.filter((o) => json[o] !== undefined && json[o] !== null)])
    if (!Number.isSafeInteger(json[size]) || (json[size] as number) < 1)
      throw new FileError(
        `The configuration of ${name} is damaged: ${size} must be a whole number above 0, but is ${show(json[size])}. Get its config.json again.`,
      );
}
