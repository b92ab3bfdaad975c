import { existsSync, readFileSync } from 'node:fs';
import { DataError, OptionError } from '../core/errors';
import { emit, warnOnce } from '../core/events';
import { show } from '../core/options';
import { Random } from '../core/random';
import type { Audited } from '../data/audit';
import type { Dataset, Row } from '../data/dataset';
import { plainRow } from '../data/layouts';
import { originOf } from '../data/origin';
import { pack } from '../data/packing';
import { type Example, type Prepared, prepareSft } from '../data/sft';
import type { CausalLM } from '../models/causal_lm';
import type { ChatMessage, Tokenizer } from '../tokenizers/tokenizer';
import type { SFTOptions } from './sft_config';

/** Makes a text of a row, or several: what the row is learned as. */
// biome-ignore lint/suspicious/noExplicitAny: rows of any columns
export type FormattingFunc<R = any> = (row: R) => string | string[];

/** Rows as what a function makes of them, as TRL's formatting_func; `first`: the number of the first one. */
export function* formatted(rows: Iterable<Row>, format: FormattingFunc, field: string, first = 0): Generator<Row> {
  let i = first;
  for (const row of rows) {
    const texts = [format(row)].flat();
    const wrong = texts.find((text) => typeof text !== 'string');
    if (wrong !== undefined || !texts.length)
      throw new DataError(
        `formatting_func gave ${show(wrong)} for row ${i}; it must give a text: (row) => \`Question: \${row.question}\`.`,
      );
    for (const text of texts) yield { [field]: text };
    i++;
  }
}

/** Rows of a trainer, as they are known to the audit (each by itself), and as they are learned from (packed, where that is wanted). */
export interface TrainerRows {
  prepared: Prepared;
  rows: Example[];
}

/** Whose rows they are. */
type RowsName = 'train_dataset' | 'eval_dataset';

/** Makes others of a trainer's rows, each still by itself: less of them is learned, or not all of them. */
export type Relabel = (rows: Prepared, tokenizer: Tokenizer, name: RowsName) => Prepared;

const isPacked = (name: RowsName, args: SFTOptions): boolean =>
  name === 'train_dataset' ? args.packing : (args.eval_packing ?? args.packing);

/** Whether rows longer than max_length go on in further rows, so that nothing is lost. */
const goesOn = (name: RowsName, args: SFTOptions): boolean => isPacked(name, args) && args.packing_strategy !== 'bfd';

/** Rows as tokens, each by itself, said what became of them. */
export function tokenised(
  name: RowsName,
  dataset: Dataset,
  tokenizer: Tokenizer,
  args: SFTOptions,
  formatting_func: FormattingFunc | null,
): Prepared {
  const given = formatting_func ? [...formatted(dataset, formatting_func, args.dataset_text_field)] : dataset;
  const prepared = prepareSft(given as Dataset, tokenizer, goesOn(name, args) ? { ...args, max_length: null } : args);
  report(name, dataset.length, prepared, args);
  return prepared;
}

/** Rows shuffled and packed as the options say. */
export function arranged(name: RowsName, prepared: Prepared, args: SFTOptions): TrainerRows {
  let rows = prepared.examples;
  const shuffle = () => {
    if (args.shuffle_dataset) rows = Random.seeded(args.seed).shuffled(rows);
  };
  if (isPacked(name, args)) {
    shuffle();
    rows = pack(rows, args.max_length as number, args.packing_strategy);
    emit('progress', {
      id: `packing ${name}`,
      done: true,
      text: `Packed ${prepared.examples.length} rows ${name === 'train_dataset' ? '' : `of ${name} `}into ${rows.length} of at most ${args.max_length} tokens; a batch counts these.`,
    });
  }
  shuffle();
  return { prepared, rows };
}

/** Rows as tokens, shuffled and packed as the options say. */
export const prepareRows = (
  name: RowsName,
  dataset: Dataset,
  tokenizer: Tokenizer,
  args: SFTOptions,
  formatting_func: FormattingFunc | null,
): TrainerRows => arranged(name, tokenised(name, dataset, tokenizer, args, formatting_func), args);

/** What an audit of a trainer's rows looks at. */
export const auditRows = (dataset: Dataset, tokenizer: Tokenizer, args: SFTOptions, train: TrainerRows, test?: TrainerRows): Audited => ({
  name: (originOf(dataset)?.dataset ?? 'the training set').split('/').at(-1) as string,
  tokenizer,
  train: train.prepared,
  eval: test?.prepared,
  max_length: args.max_length,
  packed: args.packing ? train.rows : undefined,
  goesOn: goesOn('train_dataset', args),
  chats: dataset.length > 0 && Array.isArray(plainRow(dataset.at(0), args.dataset_text_field, true).messages),
});

/** Says what became of the rows; fails when nothing is left to learn. */
function report(name: string, rows: number, { examples, truncated, tokensLost, dropped }: Prepared, args: SFTOptions): void {
  if (!examples.length)
    throw new DataError(
      rows
        ? `Every label is masked: none of the ${rows} rows of ${name} has a token to learn${truncated ? ` within max_length = ${args.max_length}` : ''}. ` +
            'Check that rows of {messages} have assistant turns, or raise max_length.'
        : `${name} has no rows. Look at the file or filter that it came from: await load_dataset(...) shows how many rows there are.`,
    );
  const total = examples.reduce((n, e) => n + e.input_ids.length, 0) + tokensLost;
  if (truncated)
    warnOnce(
      `${name}: ${truncated} of ${rows} rows were longer than max_length = ${args.max_length} and were cut there; ${tokensLost} tokens (${((100 * tokensLost) / total).toFixed(1)} %) are lost.`,
    );
  if (dropped) warnOnce(`${name}: ${dropped} of ${rows} rows were dropped: no token to learn was left in them.`);
}

export const isTemplateFile = (path: string): boolean => /\.(jinja2?|j2)$/.test(path) && existsSync(path);

/** Gives tokenizer and model the end of texts and the chat template that the options name. */
export function setUp(args: SFTOptions, tokenizer: Tokenizer, model: CausalLM): void {
  setUpTokenizer(args, tokenizer);
  if (args.eos_token === null) return;
  const id = tokenizer.eos_token_id as number;
  model.config.eos_token_id = id;
  const { generation_config: config } = model;
  const ends = [config.eos_token_id ?? []].flat();
  if (!ends.includes(id)) config.eos_token_id = [id, ...ends];
}

/** The tokenizer's part of it. */
export function setUpTokenizer({ eos_token, chat_template_path: path }: SFTOptions, tokenizer: Tokenizer): void {
  if (eos_token !== null) tokenizer.eos_token = eos_token;
  if (path === null) return;
  if (isTemplateFile(path)) tokenizer.chat_template = readFileSync(path, 'utf8');
  else
    throw new OptionError(
      `SFTConfig: chat_template_path = ${show(path)} is no .jinja file. Another model's template may need tokens that this one lacks; set up both before: await clone_chat_template(model, tokenizer, ${show(path)}).`,
    );
}

/** What the first rows ask: a conversation's first question, a prompt, or the first words of a text. */
export function promptsOf(rows: Dataset, count = 2): string[] {
  const first = [...rows.take(count)].map((row) => plainRow(row, 'text', true));
  return first.flatMap(({ messages, prompt, text }) => {
    const conversation: ChatMessage[] = Array.isArray(messages) ? messages : Array.isArray(prompt) ? prompt : [];
    const content = conversation.find(({ role }) => role === 'user')?.content;
    const question = Array.isArray(content) ? content.map((part) => part.text ?? '').join('') : content;
    const asked = question ?? (typeof prompt === 'string' ? prompt : undefined);
    const words = typeof text === 'string' ? text.split(/\s+/).slice(0, 12).join(' ') : '';
    return (asked ?? words) || [];
  });
}

/** Fails where a model is to be trained without an adapter and cannot be. */
export function checkTrainable(model: CausalLM): void {
  const packed = model.namedParameters().size ? undefined : model.packedWeight();
  if (packed)
    throw new OptionError(
      `SFTTrainer needs a peft_config (new LoraConfig({ r: 16, ... })) for this model: its weights are packed (${packed.name} as ${packed.format}) and cannot be trained themselves. ` +
        "To train all weights, load the model with dtype: 'float32' and without quantization_config.",
    );
}
