import { DataError, OptionError } from '../core/errors';
import { emit } from '../core/events';
import { readOptions, show } from '../core/options';
import { tokensIn } from '../data/borders';
import type { Example } from '../data/sft';
import type { Span } from '../data/spans';
import type { Tokenizer } from '../tokenizers/tokenizer';
import type { SFTTrainer } from './sft';

/** What stands before each answer, and before each question. */
export interface ResponseParts {
  /** What begins a question in the text: '<|im_start|>user\n', '[INST]'. Needed. Default: ''. */
  instruction_part: string;
  /** What begins an answer: '<|im_start|>assistant\n', '[/INST]'. Needed. Default: ''. */
  response_part: string;
}

/** From behind each response_part to the next instruction_part, or the end. */
function answersIn(text: string, { instruction_part: question, response_part: answer }: ResponseParts): Span[] {
  const spans: Span[] = [];
  for (let at = text.indexOf(answer); at >= 0; ) {
    const from = at + answer.length;
    const next = text.indexOf(question, from);
    const to = next < 0 ? text.length : next;
    spans.push([from, to]);
    at = next < 0 ? -1 : text.indexOf(answer, to);
  }
  return spans;
}

/** A row of which nothing but answers is learned that was not before. */
function answersOnly(example: Example, tokenizer: Tokenizer, parts: ResponseParts): Example {
  const text = tokenizer.decode(example.input_ids);
  const inside = tokensIn(text, example.input_ids, answersIn(text, parts), tokenizer);
  return { ...example, trained: example.trained.map((learned, i) => learned && inside[i]) };
}

/**
 * Lets a trainer learn answers alone, as Unsloth's function of this name: of each text what stands behind `response_part`, up to the next
 * `instruction_part`, which is how answers are found in rows of {text}. Call it before `train`. Rows of {messages} need it not: assistant_only_loss finds
 * their answers by the chat template. A DataError where no row has an answer.
 */
// biome-ignore lint/suspicious/noExplicitAny: a trainer of any model and rows
export function train_on_responses_only<T extends SFTTrainer<any, any, any>>(
  trainer: T,
  parts: ResponseParts & Record<string, unknown>,
): T {
  const owner = 'train_on_responses_only';
  const o = readOptions<ResponseParts>(owner, parts, { instruction_part: '', response_part: '' });
  for (const [name, part] of Object.entries(o))
    if (typeof part !== 'string' || !part)
      throw new OptionError(
        `${owner} needs ${name}: what begins ${name === 'response_part' ? 'an answer' : 'a question'} in the text, '<|im_start|>user\\n' say.`,
      );
  trainer.relabel((rows, tokenizer, name) => {
    const marked = rows.examples.map((example) => answersOnly(example, tokenizer, o));
    const learns = marked.map(({ trained }) => trained.indexOf(true, 1) > 0);
    const [examples, origins] = [marked.filter((_, i) => learns[i]), rows.origins.filter((_, i) => learns[i])];
    const without = rows.origins.flatMap(({ row }, i) => (learns[i] ? [] : row));
    if (!examples.length)
      throw new DataError(
        `${owner}: no row of ${name} has ${show(o.response_part)} with an answer behind it, as the model reads them: ${show(tokenizer.decode(marked[0].input_ids))}. Look at the rows (preview), and give the parts as they stand there.`,
      );
    if (without.length)
      emit('warning', { text: `${owner}: ${without.length} of ${marked.length} rows of ${name} have no answer and were dropped.` });
    const droppedRows = [...rows.droppedRows, ...without].sort((a, b) => a - b);
    return { ...rows, examples, origins, droppedRows, dropped: droppedRows.length };
  });
  return trainer;
}
