import { OptionError } from '../core/errors';
import { show } from '../core/options';
import { sparing } from '../engine/plain_error';
import type { Answer } from './answer';
import { beamSearch } from './beams';
import { beginAnswers, type Call, type GenerateOptions, type Generates, readCall } from './calls';
import { startDecoding } from './decoding';
import { type Prompt, type Prompts, promptRows } from './prompt';

/** New tokens: of one row, or of several where several were given or `num_return_sequences` is. */
export type Generated<P, O> = P extends Prompts ? number[][] : O extends { num_return_sequences: number } ? number[][] : number[];

/**
 * Continues a row of token ids, or several; returns the new ones (the last may be an end token). Works with a model or with an adapter around
 * it. Rows may be of any lengths: they are written together, each as it would be alone; rows that a tokenizer has padded are given with their
 * attention_mask. With num_return_sequences the answers to a row follow one another. A key/value cache keeps the cost of each token
 * the same; the event loop gets a turn after each, so that a kernel stays responsive.
 */
export async function generate<P extends Prompt | Prompts, O extends Partial<GenerateOptions>>(
  model: Generates | { base_model: Generates },
  start: P,
  options?: O,
): Promise<Generated<P, O>> {
  try {
    return await continued(model, start, options);
  } finally {
    // Who reads from it waits for the end, however it comes.
    options?.streamer?.end?.();
  }
}

async function continued<P extends Prompt | Prompts, O extends Partial<GenerateOptions>>(
  model: Generates | { base_model: Generates },
  start: P,
  options?: O,
): Promise<Generated<P, O>> {
  const { rows, single } = promptRows(start);
  const decoder = 'base_model' in model ? model.base_model : model;
  const call = readCall(decoder, options ?? {});
  const { own, settings } = call;
  const asked = options?.num_return_sequences ?? own.generation_config?.num_return_sequences;
  const one = single && !asked;
  const several = one ? 1 : (settings.num_return_sequences ?? 1);
  if (!rows.length) return [] as unknown as Generated<P, O>;
  if (own.streamer && (rows.length * several > 1 || (settings.num_beams ?? 1) > 1))
    throw new OptionError(
      'generate: a streamer writes one answer as it comes; leave out num_beams, num_return_sequences and further rows.',
    );
  const names = own.adapter_names;
  if (names && names.length !== rows.length)
    throw new OptionError(`generate: adapter_names is ${show(names)}, and there are ${rows.length} rows: each has its own.`);
  const how = (settings.num_beams ?? 1) > 1 ? beamSearch : write;
  const made = await sparing('generating', () => how(decoder, rows, call, several));
  return (one ? made[0] : made) as Generated<P, O>;
}

/** Several answers to each row, all at once. */
async function write(model: Generates, rows: number[][], call: Call, several: number): Promise<number[][]> {
  const { own } = call;
  const answers = beginAnswers(model, rows, call, several);
  const decoding = startDecoding(model, Math.max(...answers.map(({ limit }) => limit)), own.adapter_names ?? []);
  const adapter = (answer: number) => own.adapter_names?.[Math.floor(answer / several)];
  const told = (answer: number) => {
    const token = answers[answer].tokens.at(-1) as number;
    own.on_token?.(token, answer);
    own.streamer?.put(token);
  };
  try {
    // Each prompt goes through the model once, for all answers to it.
    let open = answers.map((_, i) => i).filter((i) => i % several === 0);
    let next = (i: number): number[] => answers[i].tokens;
    for (let first = true; open.length; first = false) {
      const parts = open.map((sequence) => ({ sequence, tokens: next(sequence), adapter: adapter(sequence) }));
      if (answers[0].isFree) for (const [at, token] of (await decoding.likeliest(parts)).entries()) answers[open[at]].append(token);
      else {
        const logits = await decoding.step(parts);
        if (first && several > 1) {
          for (const i of open) for (let j = 1; j < several; j++) decoding.copy(i, i + j);
          open = answers.map((_, i) => i);
        }
        for (const [at, i] of open.entries()) answers[i].take(first && several > 1 ? logits[Math.floor(at / several)].slice() : logits[at]);
      }
      for (const i of open) told(i);
      next = (i) => [answers[i].tokens.at(-1) as number];
      for (const i of open) if (answers[i].finish_reason) decoding.release(i);
      open = open.filter((i) => !answers[i].finish_reason);
      if (!open.length) break;
      await new Promise((resolve) => setImmediate(resolve));
      if (own.should_continue?.() === false) break;
    }
    return answers.map(({ made }: Answer) => made);
  } finally {
    decoding.dispose();
  }
}

export type { GenerateOptions, Generates } from './calls';
