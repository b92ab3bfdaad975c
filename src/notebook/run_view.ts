import { RUN_MIME, type RunData, runPayload, runSvg, summary } from '../../views';
import { escapeHtml } from '../core/html';
import type { Moment, Run } from '../train/run';
import { type Bundle, Display } from './display';
import { picture as drawPicture } from './picture';
import { runData } from './run_data';
import { Throttle } from './throttle';

/** The picture for readers without the extension. */
export const runPng = (run: RunData): Buffer => drawPicture(runSvg(run));

/** One output for all readers: our view, a table with the picture in it, the picture, text. */
export function runBundle(run: RunData, picture?: Buffer): Bundle {
  const rows = summary(run);
  const png = picture?.toString('base64');
  const image = png ? `<img alt="Loss of the run ${escapeHtml(run.name)}" width="720" src="data:image/png;base64,${png}">` : '';
  return {
    [RUN_MIME]: runPayload(run),
    'text/html': `${image}<table>${rows.map(([label, value]) => `<tr><th style="text-align:left">${escapeHtml(label)}</th><td style="text-align:left">${escapeHtml(value)}</td></tr>`).join('')}</table>`,
    ...(png ? { 'image/png': png } : {}),
    'text/plain': [`Run ${run.name}`, ...rows.map(([label, value]) => `${label}: ${value}`)].join('\n'),
  };
}

/** Shows runs under their cells: at most one snapshot a second, the picture once at the end. */
export class RunViews {
  private readonly views = new WeakMap<Run, Throttle>();

  update(run: Run, what: Moment): void {
    let view = this.views.get(run);
    if (!view) {
      const display = new Display(`tunebook-run-${run.id}`);
      view = new Throttle(1000, () => {
        const data = runData(run);
        const over = run.status !== 'running' && run.status !== 'paused';
        display.show(runBundle(data, over ? runPng(data) : undefined));
      });
      this.views.set(run, view);
    }
    if (what === 'begin' || what === 'end') view.flush();
    else view.call();
  }
}
