import type { Dataset } from './dataset';
import type { IterableDataset } from './iterable_dataset';

/** Columns that rows of supervised fine-tuning can have; F is that of plain texts. */
type SftRow<F extends string> =
  | { messages: readonly object[] }
  | { conversations: readonly object[] }
  | { prompt: string; completion: string }
  | { prompt: readonly object[]; completion: readonly object[] }
  | { instruction: string; output: string }
  | { input_ids: readonly number[] }
  | { [column in F]: string };

/** What a data set lacks whose rows cannot be learned from: its name is what the checker says. */
type Lacking<F extends string> = {
  readonly [says in `SFTTrainer needs a column 'messages', or 'prompt' and 'completion', or '${F}'. Make it with dataset.map(...), or give formatting_func`]: never;
};

type IsAny<T> = 0 extends 1 & T ? true : false;

/** Nothing (unknown) where rows of R can be learned from, or it is not known which columns they have; else what they lack. */
type Fits<R, F extends string> =
  IsAny<R> extends true ? unknown : string extends keyof R ? unknown : R extends SftRow<F> ? unknown : Lacking<F>;

/** A data set, in memory or a stream, that an SFTTrainer can learn from. */
export type SftData<R extends object, F extends string> = AnyData<R> & Fits<R, F>;
/** A data set of any columns. */
export type AnyData<R extends object> = Dataset<R> | IterableDataset<R>;
