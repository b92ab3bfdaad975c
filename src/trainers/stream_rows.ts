import { OptionError } from '../core/errors';
import { emit } from '../core/events';
import { turn } from '../core/interrupt';
import { Dataset, type Row } from '../data/dataset';
import type { IterableDataset } from '../data/iterable_dataset';
import { prepareRow } from '../data/sft';
import type { Tokenizer } from '../tokenizers/tokenizer';
import { type FormattingFunc, formatted } from './prepare';
import type { SFTOptions } from './sft_config';

/** Rows that a run of max_steps takes. A stream does not say how many it has. */
export function rowsWanted({ max_steps, per_device_train_batch_size, gradient_accumulation_steps }: SFTOptions): number {
  if (max_steps > 0) return max_steps * per_device_train_batch_size * gradient_accumulation_steps;
  throw new OptionError(
    'SFTTrainer: train_dataset is a stream, whose number of rows is not known: say for how many steps to train (max_steps), since num_train_epochs says nothing then.',
  );
}

/** How often the line of progress moves, in rows. */
const EVERY = 500;

/**
 * The rows of a stream that a run learns from, its first ones: as many as its steps take, or, where rows are packed, as many as fill so many. They are
 * learned from in the order that train_sampling_strategy says.
 */
export async function takeRows(
  stream: IterableDataset<Row>,
  tokenizer: Tokenizer,
  args: SFTOptions,
  formatting_func: FormattingFunc | null,
): Promise<Dataset> {
  const wanted = rowsWanted(args);
  const room = wanted * (args.max_length ?? 0);
  const rows: Row[] = [];
  let tokens = 0;
  const tell = (done: boolean) =>
    emit('progress', {
      id: 'stream',
      done,
      text: `${rows.length} rows read from the stream${args.packing ? `, ${tokens} tokens of ${room}` : ` of ${wanted}`}`,
    });
  const options = args.packing_strategy === 'bfd' ? args : { ...args, max_length: null };
  for await (const row of stream) {
    if (args.packing) {
      const i = rows.length;
      const texts = formatting_func ? formatted([row], formatting_func, args.dataset_text_field, i) : [row];
      for (const text of texts) tokens += prepareRow(text, i, tokenizer, options).example?.input_ids.length ?? 0;
    }
    rows.push(row);
    if (args.packing ? tokens >= room : rows.length >= wanted) break;
    if (rows.length % EVERY === 0) {
      tell(false);
      await turn();
    }
  }
  tell(true);
  return Dataset.from_list(rows);
}
