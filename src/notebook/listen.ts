import { on } from '../core/events';
import type { Audit } from '../data/audit';
import type { Handle } from '../train/handle';
import type { Run } from '../train/run';
import { CHARTS, drawn } from './charts';
import { Display, inNotebook } from './display';
import { LiveRuns } from './live';
import { PreviewReport } from './preview';
import { runData } from './run_data';
import { RunViews, runPng } from './run_view';
import { SweepViews } from './sweep_view';
import { Throttle } from './throttle';
import { offeredValues } from './values';

/** A line of progress that changes in place, at most four times a second. */
class Line {
  text = '';
  readonly shown: Throttle;

  constructor(id: string) {
    const display = new Display(`tunebook-${id}-${Date.now()}`);
    this.shown = new Throttle(250, () => display.show({ 'text/plain': this.text }));
  }
}

/** Shows what the library tells: in the notebook's outputs, or as lines on a terminal. Called once. */
export function listen(): void {
  const views = new RunViews();
  const live = new LiveRuns();
  const sweeps = new SweepViews();
  const lines = new Map<string, Line>();
  let lineOpen = false;
  Object.assign(globalThis, { [Symbol.for('tunebook.values')]: offeredValues });
  on('run', ({ run, handle, what }) => {
    if (!inNotebook()) return;
    live.update(run as Run, handle as Handle, what);
    if (!(run as Run).sweep) views.update(run as Run, what);
  });
  on('sweep', (event) => sweeps.update(event));
  on('picture', ({ run, give }) => give(runPng(runData(run as Run))));
  on('chart', ({ kind, data, give }) => CHARTS[kind] && give(drawn(CHARTS[kind](data))));
  on('progress', ({ id, text, done }) => {
    if (inNotebook()) {
      const line = lines.get(id) ?? new Line(id);
      line.text = text;
      if (done) {
        lines.delete(id);
        line.shown.flush();
      } else {
        lines.set(id, line);
        line.shown.call();
      }
    } else if (process.stderr.isTTY) {
      process.stderr.write(`\r\x1b[K${text}${done ? '\n' : ''}`);
      lineOpen = !done;
    } else if (done) process.stderr.write(`${text}\n`);
  });
  on('preview', ({ audit }) => {
    if (lineOpen) process.stderr.write('\n');
    lineOpen = false;
    new PreviewReport(audit as Audit).show();
  });
  on('show', ({ html, text }) => {
    if (inNotebook()) new Display(`tunebook-show-${Date.now()}`).show({ 'text/html': html, 'text/plain': text });
    else process.stderr.write(`${lineOpen ? '\n' : ''}${text}\n`);
  });
  on('warning', ({ text }) => {
    process.stderr.write(`${lineOpen ? '\n' : ''}Warning: ${text}\n`);
  });
}
