import { otherSeries, type RunData, seriesOf } from './run';
import { figure } from './series';

const STATUS = { running: 'training', paused: 'paused', finished: 'finished', stopped: 'stopped', failed: 'failed' };
const mebibytes = (bytes: number) => `${Math.round(bytes / 1048576).toLocaleString('en-US')} MiB`;

/** What a run comes to, as label and value: for tables, summaries and plain text. */
export function summary(run: RunData): [string, string][] {
  const { loss, eval_loss, tokens_per_second: speed } = run.series;
  const saved = run.status === 'stopped' && run.checkpoints[run.checkpoints.length - 1]?.endsWith(`checkpoint-${run.step}`);
  const rows: [string, string][] = [['status', `${STATUS[run.status]}${saved ? ' and saved' : ''}, step ${run.step} of ${run.totalSteps}`]];
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
  if (run.memory.peakBytes)
    rows.push(['memory', `${mebibytes(run.memory.residentBytes)} resident, ${mebibytes(run.memory.peakBytes)} at most`]);
  if (run.checkpoints.length) rows.push(['last checkpoint', run.checkpoints[run.checkpoints.length - 1]]);
  for (const { kind, text } of run.events.filter((e) => e.kind === 'failed' || e.kind === 'stopped')) rows.push([kind, text]);
  return rows;
}

/** All figures of a run as comma-separated values: a row for each step at which something was noted. */
export function runCsv(run: RunData): string {
  const names = seriesOf(run);
  const columns = names.map((name) => new Map(run.series[name]));
  const steps = [...new Set(columns.flatMap((column) => [...column.keys()]))].sort((a, b) => a - b);
  const rows = steps.map((step) => [step, ...columns.map((column) => column.get(step) ?? '')].join(','));
  return `${['step', ...names].join(',')}\n${rows.join('\n')}\n`;
}
