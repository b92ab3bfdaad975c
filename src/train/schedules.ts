import { OptionError } from '../core/errors';
import { checkOneOf, readOptions, show } from '../core/options';
import { PLATEAU } from './plateau';

/** Where a run is: `step` counts from 0, `warmup` of `total` steps rise from 0 to the peak `rate`. */
interface At {
  step: number;
  warmup: number;
  total: number;
  rate: number;
}

/** A schedule of transformers': its `lr_scheduler_kwargs` with their defaults, and the factor on the rate at a step. */
interface Schedule<O> {
  options: O;
  factor(at: At, options: O): number;
}

const schedule = <O extends object>(options: O, factor: (at: At, options: O) => number) =>
  ({ options, factor }) as unknown as Schedule<never>;

/** A rise to 1, then `f` of the share of the other steps that is done. */
const after =
  <O>(f: (progress: number, options: O, at: At) => number) =>
  (at: At, options: O): number => {
    const { step, warmup, total } = at;
    return step < warmup ? step / Math.max(1, warmup) : f((step - warmup) / Math.max(1, total - warmup), options, at);
  };

const wave = (turns: number) => 0.5 * (1 + Math.cos(Math.PI * turns));
/** From `lowest` to 1 instead of from 0. */
const above = (lowest: number, factor: number) => Math.max(0, factor * (1 - lowest) + lowest);

const LOWEST = { num_cycles: 0.5, min_lr: null as number | null, min_lr_rate: null as number | null };
const EARLY = { ...LOWEST, warmup_lr_rate: null as number | null };
function lowest({ min_lr, min_lr_rate }: Pick<typeof LOWEST, 'min_lr' | 'min_lr_rate'>, rate: number): number {
  if ((min_lr === null) === (min_lr_rate === null))
    throw new OptionError(
      'lr_scheduler_kwargs needs one of min_lr (a rate) and min_lr_rate (a share of learning_rate) for this schedule: { min_lr_rate: 0.1 }, say.',
    );
  return min_lr_rate ?? (min_lr as number) / rate;
}

/** Ways between 0 and 1 of `warmup_stable_decay`. */
const WAYS: Record<string, { up(p: number): number; down(p: number, cycles: number): number }> = {
  linear: { up: (p) => p, down: (p) => 1 - p },
  cosine: { up: (p) => 0.5 * (1 - Math.cos(Math.PI * p)), down: (p, cycles) => wave(2 * cycles * p) },
  '1-sqrt': { up: (p) => 1 - Math.sqrt(1 - p), down: (p) => 1 - Math.sqrt(p) },
};
const wayOf = (name: string, what: string) => {
  checkOneOf('lr_scheduler_kwargs', what, name, Object.keys(WAYS));
  return WAYS[name];
};

const STABLE = {
  num_decay_steps: null as number | null,
  num_stable_steps: null as number | null,
  warmup_type: 'linear',
  decay_type: 'cosine',
  min_lr_ratio: 0,
  num_cycles: 0.5,
};
function stable({ step, warmup, total }: At, o: typeof STABLE): number {
  const [rise, fall] = [wayOf(o.warmup_type, 'warmup_type'), wayOf(o.decay_type, 'decay_type')];
  if (o.num_decay_steps === null)
    throw new OptionError('lr_scheduler_kwargs needs num_decay_steps for warmup_stable_decay: how many steps the rate falls at the end.');
  const top = warmup + (o.num_stable_steps ?? total - warmup - o.num_decay_steps);
  if (step < warmup) return above(o.min_lr_ratio, rise.up(step / Math.max(1, warmup)));
  if (step < top) return 1;
  if (step >= top + o.num_decay_steps) return o.min_lr_ratio;
  return above(o.min_lr_ratio, fall.down((step - top) / Math.max(1, o.num_decay_steps), o.num_cycles));
}

/** The schedules by the values of `lr_scheduler_type`: one line each. */
const schedules = {
  linear: schedule(
    {},
    after((p) => Math.max(0, 1 - p)),
  ),
  cosine: schedule(
    { num_cycles: 0.5 },
    after((p, { num_cycles: n }) => Math.max(0, wave(2 * n * p))),
  ),
  cosine_with_restarts: schedule(
    { num_cycles: 1 },
    after((p, { num_cycles: n }) => (p >= 1 ? 0 : Math.max(0, wave((n * p) % 1)))),
  ),
  cosine_with_min_lr: schedule(
    LOWEST,
    after((p, o, { rate }) => above(lowest(o, rate), wave(2 * o.num_cycles * p))),
  ),
  polynomial: schedule(
    { lr_end: 1e-7, power: 1 },
    after((p, o, { rate }) => (p > 1 ? o.lr_end : (rate - o.lr_end) * (1 - p) ** o.power + o.lr_end) / rate),
  ),
  constant: schedule({}, () => 1),
  constant_with_warmup: schedule(
    {},
    after(() => 1),
  ),
  inverse_sqrt: schedule(
    { timescale: null as number | null },
    after((_, o, { step, warmup }) => {
      const scale = o.timescale ?? (warmup || 10_000);
      return 1 / Math.sqrt((step + scale - warmup) / scale);
    }),
  ),
  warmup_stable_decay: schedule(STABLE, stable),
  cosine_warmup_with_min_lr: schedule(EARLY, (at, o) => {
    const [rise, left] = [at.warmup, Math.max(1, at.total - at.warmup)];
    const least = lowest(o, at.rate);
    const first = o.warmup_lr_rate;
    if (at.step < rise) return first === null ? (at.step + 1) / Math.max(1, rise) : first + ((1 - first) * at.step) / Math.max(1, rise - 1);
    return above(least, wave((2 * o.num_cycles * (at.step - rise + 1)) / left));
  }),
  // How far it has come down is what evaluations say: see plateau.ts.
  reduce_lr_on_plateau: schedule(PLATEAU, () => 1),
};

export type ScheduleName = keyof typeof schedules;
export const SCHEDULES: Record<string, Schedule<never>> = schedules;

interface RateOptions {
  learning_rate: number;
  lr_scheduler_type: string;
  lr_scheduler_kwargs: Record<string, unknown> | null;
}

/** The factor on the rate by step, 0 the first. Throws where `lr_scheduler_kwargs` has what the schedule does not. */
export function rateFactor(
  { learning_rate: rate, lr_scheduler_type: type, lr_scheduler_kwargs: given }: RateOptions,
  { warmup, total }: { warmup: number; total: number },
): (step: number) => number {
  const { options, factor } = SCHEDULES[type];
  const owner = `lr_scheduler_kwargs of '${type}'`;
  const read = readOptions<object>(owner, given ?? {}, options) as never;
  for (const [name, value] of Object.entries(read)) {
    const usual = (options as Record<string, unknown>)[name];
    if (value === null ? usual === null : typeof usual === 'string' ? typeof value === 'string' : Number.isFinite(value)) continue;
    throw new OptionError(
      `${owner}: ${name} must be a ${typeof usual === 'string' ? 'string' : 'number'}, but is ${show(value)}. ${show(usual)} is usual.`,
    );
  }
  return (step) => factor({ step, warmup, total, rate }, read);
}
