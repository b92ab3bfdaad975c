import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { OptionError } from '../core/errors';
import { take } from '../engine/backend';
import * as tf from '../engine/tf';
import { readJson, readJsonList } from '../formats/json';
import { findModel } from '../hub/resolve';
import type { CausalLM } from '../models/causal_lm';

/** How one vector is made of a text's final states, by sentence-transformers' names. */
export const POOLINGS = ['mean', 'lasttoken', 'cls'] as const;
export type Pooling = (typeof POOLINGS)[number];

/** How a model makes vectors of texts. */
export interface Embeds {
  pooling: Pooling;
  /** Whether they are made of length 1. */
  normal: boolean;
}

/** sentence-transformers' parts that are known here. */
const MODULES = ['Transformer', 'Pooling', 'Normalize'];

/** What the files of sentence-transformers beside a model say, but for what is asked for; undefined where neither says anything. */
export async function embedsOf(name: string, asked: Pooling | null): Promise<Embeds | undefined> {
  const found = findModel(name);
  const folder = found && (found.kind === 'folder' ? found.path : dirname(found.path));
  if (!folder || !existsSync(join(folder, 'modules.json'))) return asked ? { pooling: asked, normal: true } : undefined;
  const modules = await readJsonList(join(folder, 'modules.json'));
  const kindOf = ({ type }: Record<string, unknown>) => String(type).split('.').at(-1) as string;
  const kind = (type: string) => modules.find((module) => kindOf(module) === type);
  const normal = kind('Normalize') !== undefined;
  if (asked) return { pooling: asked, normal };
  const pooling = kind('Pooling');
  if (!pooling) return undefined;
  const other = modules.find((module) => !MODULES.includes(kindOf(module)));
  if (other)
    throw new OptionError(
      `serve: ${join(folder, 'modules.json')} has a part that is not known here, ${kindOf(other)}: vectors without it would be others. Set pooling to make them so all the same.`,
    );
  const config = (await readJson(join(folder, String(pooling.path), 'config.json'))) as Record<string, unknown>;
  const flags = Object.keys(config).filter((key) => key.startsWith('pooling_mode_') && config[key] === true);
  // Of several the vectors stand behind one another.
  const mode = config.pooling_mode ?? flags.map((key) => key.replace(/^pooling_mode_(.*?)(_tokens?)?$/, '$1')).join(' and ');
  const known = POOLINGS.find((one) => one === mode);
  if (!known)
    throw new OptionError(
      `serve: ${join(folder, String(pooling.path))} asks for a pooling of ${mode}, which is not known here. Set pooling.`,
    );
  return { pooling: known, normal };
}

/** The vector of a text's tokens, [hidden]; with `dimensions` so many of its first values, of length 1 again. `wearing` puts an adapter on meanwhile. */
export async function embed(
  model: CausalLM,
  ids: readonly number[],
  { pooling, normal }: Embeds,
  wearing: <T>(f: () => T) => T,
  dimensions?: number,
): Promise<Float32Array> {
  const pooled = () => {
    const states = tf.squeeze(model.hidden(tf.tensor2d([[...ids]], [1, ids.length], 'int32')), [0]);
    const at = pooling === 'cls' ? 0 : ids.length - 1;
    return pooling === 'mean' ? tf.mean(states, 0) : tf.squeeze(tf.slice(states, [at, 0], [1, -1]), [0]);
  };
  const all = (await take(tf.tidy(() => wearing(pooled)) as tf.Tensor)) as Float32Array;
  const values = dimensions === undefined ? all : all.slice(0, dimensions);
  if (!normal && dimensions === undefined) return values;
  const length = Math.hypot(...values);
  return length ? values.map((value) => value / length) : values;
}
