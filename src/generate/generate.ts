import { OptionError } from '../core/errors';
import { checkNumber, readOptions } from '../core/options';
import { Random } from '../core/random';
import { take } from '../engine/backend';
import * as tf from '../engine/tf';
import type { CausalLM } from '../models/causal_lm';

/** Options of generation under transformers' names, with its defaults (greedy). */
export interface GenerateOptions {
  max_new_tokens: number;
  do_sample: boolean;
  temperature: number;
  top_k: number;
  top_p: number;
  repetition_penalty: number;
  seed: number;
  eos_token_id: number | number[] | null;
  /** Called with each new token as soon as it is there. */
  on_token: ((token: number) => void) | null;
  /** Return false to stop early. */
  should_continue: (() => boolean) | null;
}

export const GENERATE_DEFAULTS: GenerateOptions = {
  max_new_tokens: 20,
  do_sample: false,
  temperature: 1,
  top_k: 50,
  top_p: 1,
  repetition_penalty: 1,
  seed: 42,
  eos_token_id: null,
  on_token: null,
  should_continue: null,
};

const ALIASES = { max_length: { to: 'max_new_tokens' } };

/** Divides what was said before by the penalty (Keskar et al., 2019, https://arxiv.org/abs/1909.05858). In place. */
function penalise(logits: Float32Array, seen: Iterable<number>, penalty: number): void {
  if (penalty === 1) return;
  for (const id of new Set(seen)) logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
}

function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** Draws one token: temperature, then the top_k best, then the smallest set that holds top_p of the probability. */
export function sample(
  logits: Float32Array,
  { temperature, top_k, top_p }: Pick<GenerateOptions, 'temperature' | 'top_k' | 'top_p'>,
  random: Random,
): number {
  const order = Array.from(logits.keys())
    .sort((a, b) => logits[b] - logits[a])
    .slice(0, top_k > 0 ? top_k : undefined);
  const weights = order.map((id) => Math.exp((logits[id] - logits[order[0]]) / temperature));
  const total = weights.reduce((a, b) => a + b, 0);
  let kept = 0;
  let mass = 0;
  while (kept < order.length && mass < top_p * total) mass += weights[kept++];
  let draw = random.uniform() * mass;
  for (let i = 0; i < kept; i++) {
    draw -= weights[i];
    if (draw < 0) return order[i];
  }
  return order[kept - 1];
}

/**
 * Continues a row of token ids; returns the new ones (the last may be an end token). A key/value cache keeps the cost of each
 * token the same; the event loop gets a turn after each, so that a kernel stays responsive.
 */
export async function generate(model: CausalLM, input_ids: number[], options: Partial<GenerateOptions> = {}): Promise<number[]> {
  const o = readOptions('generate', options, GENERATE_DEFAULTS, ALIASES);
  checkNumber('generate', 'max_new_tokens', o.max_new_tokens, { integer: true, min: 1 }, 'It is how many tokens to write at most.');
  checkNumber('generate', 'temperature', o.temperature, { above: 0 }, 'For the most likely token each time use do_sample: false.');
  checkNumber('generate', 'top_p', o.top_p, { above: 0, max: 1 }, '1 switches it off.');
  checkNumber('generate', 'repetition_penalty', o.repetition_penalty, { above: 0 }, '1 switches it off.');
  if (!input_ids.length) throw new OptionError('generate needs at least one token to continue; the prompt is empty.');
  const room = model.config.max_position_embeddings - input_ids.length;
  if (room < 1)
    throw new OptionError(
      `The prompt has ${input_ids.length} tokens, but the model knows only ${model.config.max_position_embeddings} positions. Shorten it.`,
    );
  const steps = Math.min(o.max_new_tokens, room);
  const eos = new Set(o.eos_token_id === null ? model.eosTokenIds() : [o.eos_token_id].flat());
  const random = Random.seeded(o.seed);
  const cache = model.newCache(input_ids.length + steps);
  const made: number[] = [];
  try {
    let next = input_ids;
    while (made.length < steps) {
      const row: tf.Tensor = tf.tidy(() => {
        const hidden = model.hidden(tf.tensor2d([next], [1, next.length], 'int32'), { cache });
        return model.logits(tf.slice(hidden, [0, next.length - 1, 0], [1, 1, -1]).reshape([1, -1]));
      });
      const logits = await take(row);
      penalise(logits, [...input_ids, ...made], o.repetition_penalty);
      const token = o.do_sample ? sample(logits, o, random) : argmax(logits);
      made.push(token);
      o.on_token?.(token);
      if (eos.has(token)) break;
      next = [token];
      await new Promise((resolve) => setImmediate(resolve));
      if (o.should_continue?.() === false) break;
    }
    return made;
  } finally {
    cache.dispose();
  }
}
