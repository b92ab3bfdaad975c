import { otherSeries, type RunData, type Sample, seriesOf } from './run';
import { figure } from './series';

const STATUS = { running: 'training', paused: 'paused', finished: 'finished', stopped: 'stopped', failed: 'failed' };
const mebibytes = (bytes: number) => `${Math.round(bytes / 1048576).toLocaleString('en-US')} MiB`;

/** What a run comes to, as label and value: for tables, summaries and plain text. */
export function summary(run: RunData): [string, string][] {
  const { loss, eval_loss, tokens_per_second: speed } = run.series;
  const saved = run.status === 'stopped' && run.checkpoints[run.checkpoints.length - 1]?.endsWith(`checkpoint-${run.step}`);
  const rows: [string, string][] = [
    [
      'status',
      `${STATUS[run.status]}${saved ? ' and saved' : ''}, step ${run.step} of ${run.totalSteps}${run.doing ? `, ${run.doing}` : ''}`,
    ],
  ];
  const first = loss[0];
  const last = loss[loss.length - 1];
  if (last) rows.push(['training loss', `${figure(first[1])} at step ${first[0]}, ${figure(last[1])} at step ${last[0]}`]);
  if (eval_loss.length)
    rows.push([
      'evaluation loss',
      eval_loss
        .slice(-8)
        .map(([step, v]) => `${figure(v)} (step ${step})`)
        .join(', '),
    ]);
  for (const { name, points, evaluated } of otherSeries(run).slice(0, 8)) {
    const [now, then] = [points, evaluated].map((some) => some[some.length - 1]);
    const said = [
      ...(now ? [`${figure(now[1])} at step ${now[0]}`] : []),
      ...(then ? [`${figure(then[1])} evaluated (step ${then[0]})`] : []),
    ];
    rows.push([name, said.join(', ')]);
  }
  if (speed.length) rows.push(['speed', `${Math.round(speed.reduce((sum, [, v]) => sum + v, 0) / speed.length)} tokens/s`]);
  const { residentBytes, peakBytes, machineBytes } = run.memory;
  const machine = machineBytes ? `, of ${mebibytes(machineBytes)} that the machine has` : '';
  if (peakBytes) rows.push(['memory', `${mebibytes(residentBytes)} resident, ${mebibytes(peakBytes)} at most${machine}`]);
  if (run.checkpoints.length) rows.push(['last checkpoint', run.checkpoints[run.checkpoints.length - 1]]);
  for (const { kind, text } of run.events.filter((e) => e.kind === 'failed' || e.kind === 'stopped')) rows.push([kind, text]);
  return rows;
}

/** The samples that are worth being seen beside the plot: of prompts that are asked over and over the latest, and all questions of the reader's own; in the order asked. */
export function latestSamples({ samples }: Pick<RunData, 'samples'>): Sample[] {
  const last = new Map(samples.flatMap((sample, i) => (sample.asked ? [] : [[sample.prompt, i]])));
  return samples.filter((sample, i) => sample.asked || last.get(sample.prompt) === i);
}

/** The last of them as label and value, for readers without the extension. */
export const sampleRows = (run: Pick<RunData, 'samples'>, most = 4): [string, string][] =>
  latestSamples(run)
    .slice(-most)
    .map(({ step, prompt, text, base }) => [
      `“${prompt}” at step ${step}`,
      base === undefined ? text : `${text} (the base model: ${base})`,
    ]);

/**
 * Options by which the runs differ, each with a value for every run. Left out are those that only say where a run is saved, and those that some
 * runs do not have and that do nothing in the others, as an adapter's file has many.
 */
export function differingOptions(runs: readonly Pick<RunData, 'config'>[]): [name: string, ...values: string[]][] {
  const names = [...new Set(runs.flatMap(({ config }) => Object.keys(config)))].filter((name) => !ITS_OWN.includes(name));
  const rows = names.map((name): [string, ...string[]] => [
    name,
    ...runs.map(({ config }) => (Object.hasOwn(config, name) ? String(config[name]) : '-')),
  ]);
  // Of one method all have the same options; what only some name is kept for others' sake.
  const { peft_type: method } = runs[0]?.config ?? {};
  const alike = method !== undefined && runs.every(({ config }) => config.peft_type === method);
  const means = (values: string[]) => !values.includes('-') || !(alike || values.every(isNothing));
  return rows.filter(([, ...values]) => values.some((value) => value !== values[0]) && means(values));
}
const isNothing = (value: string) => ['-', 'null', 'false', '{}', '[]', ''].includes(value);
const ITS_OWN = ['output_dir', 'run_name', 'resume_from_checkpoint', 'inference_mode', 'peft_version'];

/** All figures of a run as comma-separated values: a row for each step at which something was noted. */
export function runCsv(run: RunData): string {
  const names = seriesOf(run);
  const columns = names.map((name) => new Map(run.series[name]));
  const steps = [...new Set(columns.flatMap((column) => [...column.keys()]))].sort((a, b) => a - b);
  const rows = steps.map((step) => [step, ...columns.map((column) => column.get(step) ?? '')].join(','));
  return `${['step', ...names].join(',')}\n${rows.join('\n')}\n`;
}
