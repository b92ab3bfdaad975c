import { createHash } from 'node:crypto';
import { datasetOf } from '../../data/load_dataset';
import { prepareSft } from '../../data/sft';
import type { CausalLM } from '../../models/causal_lm';
import type { PeftConfig } from '../../peft/method';
import type { Tokenizer } from '../../tokenizers/tokenizer';
import { withoutToken } from '../../train/hub_options';
import { formatted, setUpTokenizer } from '../prepare';
import type { SFTTrainerOptions } from '../sft';
import type { SFTConfig } from '../sft_config';
import type { Score } from './one_run';

/** Rows of a dataset that it is told apart by. */
const SAMPLE = 200;

const digest = (of: unknown): string => createHash('sha256').update(JSON.stringify(of)).digest('hex');
/** A function is told apart by its text: what it closes over cannot be seen. */
const textOf = (f: unknown): string | null => (typeof f === 'function' ? String(f) : null);

/**
 * What a run is made of, as a digest: its options, its adapter, the model's name, and the rows: how many there are, and some of them as the tokens
 * that are learned, so that another tokenizer, template or formatting_func makes another run.
 */
export function madeOf(base: SFTTrainerOptions, args: SFTConfig, peft_config: PeftConfig | null): string {
  const { compute_metrics, preprocess_logits_for_metrics: preprocess } = base;
  // Figures of the user's own change what is trained where the best of them does.
  const figures = args.metric_for_best_model === null ? null : [compute_metrics, preprocess].map(textOf);
  const model = (base.model as CausalLM).config._name_or_path;
  return digest([withoutToken(args), peft_config, model, rowsOf(base, args), figures]);
}

/** What a score is by, as a digest. */
export const scoredBy = (score: Score, { compute_metrics, preprocess_logits_for_metrics: preprocess }: SFTTrainerOptions): string =>
  digest([typeof score === 'function' ? [textOf(score)] : score, textOf(compute_metrics), textOf(preprocess)]);

function rowsOf({ train_dataset, eval_dataset, processing_class, formatting_func }: SFTTrainerOptions, args: SFTConfig): unknown {
  const tokenizer = processing_class as Tokenizer;
  const { eos_token, chat_template } = tokenizer;
  setUpTokenizer(args, tokenizer);
  try {
    return [train_dataset, eval_dataset].map((given) => {
      if (!given) return null;
      const rows = datasetOf('sweep', 'train_dataset', given);
      const every = Math.max(1, Math.floor(rows.length / SAMPLE));
      const some = [...rows].filter((_, i) => i % every === 0);
      const texts = formatting_func ? formatted(some, formatting_func, args.dataset_text_field) : some;
      return [rows.length, prepareSft(texts, tokenizer, args).examples];
    });
  } finally {
    Object.assign(tokenizer, { eos_token, chat_template });
  }
}
