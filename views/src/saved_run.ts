import { parseRun, RUN_SCHEMA_VERSION, type RunData, runPayload, SERIES } from './run';
import type { Point } from './series';

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
const pair = (value: unknown): value is Point =>
  Array.isArray(value) && value.length === 2 && value.every(Number.isFinite) && value[0] >= 0;

/** What transformers logs, under the names of our series. */
const LOGGED: Record<string, string> = { loss: 'loss', eval_loss: 'eval_loss', learning_rate: 'learning_rate', grad_norm: 'grad_norm' };

function seriesOf(state: Record<string, unknown>): Record<string, Point[]> {
  const callbacks = isRecord(state.stateful_callbacks) ? state.stateful_callbacks : {};
  const ours = isRecord(callbacks.tunebook) ? callbacks.tunebook.series : undefined;
  const found: Record<string, Point[]> = {};
  if (isRecord(ours)) {
    for (const [name, points] of Object.entries(ours)) if (Array.isArray(points)) found[name] = points.filter(pair);
    return found;
  }
  for (const entry of Array.isArray(state.log_history) ? state.log_history : [])
    for (const [name, series] of Object.entries(LOGGED)) {
      const point = isRecord(entry) && [entry.step, entry[name]];
      if (point && pair(point)) found[series] = [...(found[series] ?? []), point];
    }
  return found;
}

/**
 * A run as the files of one of its checkpoints tell it, ours or transformers': trainer_state.json, and the options in training_args.json and
 * adapter_config.json where these are there. Or a sentence that says what is wrong.
 */
export function savedRun(folder: string, state: unknown, options: readonly unknown[] = []): RunData | string {
  if (!isRecord(state) || !Number.isFinite(state.global_step)) return `${folder} holds no trainer_state.json of a training run.`;
  const series = seriesOf(state);
  if (!Object.values(series).some((points) => points.length)) return `${folder} says nothing of its losses.`;
  const [step, total] = [state.global_step, state.max_steps].map((value) => (typeof value === 'number' && value > 0 ? value : 0));
  const empty = Object.fromEntries(SERIES.map((name) => [name, []]));
  const run = {
    ...{ id: `saved ${folder}`.slice(-100), name: folder, folder, status: step < total ? 'stopped' : 'finished' },
    ...{ startedAt: '', updatedAt: '', step, totalSteps: Math.max(step, total), checkpoints: [], events: [], samples: [] },
    config: Object.assign({}, ...options.filter(isRecord)),
    series: { ...empty, ...series },
    memory: { residentBytes: 0, peakBytes: 0, machineBytes: 0 },
  } as unknown as RunData;
  // Through the payload, which cuts and checks what a file may hold.
  return parseRun({ ...JSON.parse(JSON.stringify(runPayload(run))), schemaVersion: RUN_SCHEMA_VERSION });
}
