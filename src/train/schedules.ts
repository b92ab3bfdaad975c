/** Factor on the learning rate at `step` (0 is the first) of `total`, `warmup` of which rise from 0; as transformers'. */
export type Schedule = (step: number, warmup: number, total: number) => number;

const after =
  (f: (progress: number) => number): Schedule =>
  (step, warmup, total) =>
    step < warmup ? step / Math.max(1, warmup) : f(Math.min(1, (step - warmup) / Math.max(1, total - warmup)));

const schedules = {
  linear: after((p) => 1 - p),
  cosine: after((p) => 0.5 * (1 + Math.cos(Math.PI * p))),
  cosine_with_restarts: after((p) => (p >= 1 ? 0 : 0.5 * (1 + Math.cos(Math.PI * (p % 1))))),
  polynomial: after((p) => 1 - p),
  constant: () => 1,
  constant_with_warmup: (step, warmup) => (step < warmup ? step / Math.max(1, warmup) : 1),
  inverse_sqrt(step, warmup) {
    const timescale = warmup || 10_000;
    return step < warmup ? step / Math.max(1, warmup) : 1 / Math.sqrt((step + timescale - warmup) / timescale);
  },
} satisfies Record<string, Schedule>;
export type ScheduleName = keyof typeof schedules;
export const SCHEDULES: Record<string, Schedule> = schedules;
