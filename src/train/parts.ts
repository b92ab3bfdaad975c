import type { Tokenizer } from '../tokenizers/tokenizer';
import type { CallbackLike } from './callbacks/callback';
import type { TrainingOptions } from './config';
import type { Answers } from './generated';
import type { TrainedModel } from './gradients';
import type { Objective } from './objective';
import type { ComputeMetrics, PreprocessLogits } from './predictions';

/** What a trainer of any kind is made of. */
export interface TrainerParts<M extends TrainedModel, E> {
  model: M;
  args: TrainingOptions;
  objective: Objective<E, M>;
  train: E[];
  eval?: E[];
  tokenizer: Tokenizer;
  /** What the model is asked whenever a sample is taken. */
  prompts: string[];
  callbacks?: readonly CallbackLike[];
  /** Figures of what the model says of the evaluation rows, which logs and metric_for_best_model have too. */
  compute_metrics?: ComputeMetrics | null;
  /** Makes less of each row's logits before they are kept for it. */
  preprocess_logits_for_metrics?: PreprocessLogits | null;
  /** What the model writes for the evaluation rows, scored. */
  answers?: Answers;
}
