import { RUN_MIME, type RunData, runPayload, runSvg, sampleRows, summary } from '../../views';
import type { Moment, Run } from '../train/run';
import { bundleOf } from './bundle';
import { type Bundle, Display } from './display';
import { picture } from './picture';
import { runData } from './run_data';
import { Throttle } from './throttle';

/** The picture for readers without the extension. */
export const runPng = (run: RunData): Buffer => picture(runSvg(run));

/** A run as an output, with its picture where one was made. */
export const runBundle = (run: RunData, png?: Buffer): Bundle =>
  bundleOf({
    mime: RUN_MIME,
    payload: runPayload(run),
    title: `Run ${run.name}`,
    rows: [...summary(run), ...sampleRows(run)],
    picture: png && { png, alt: `Loss of the run ${run.name}`, width: 720 },
  });

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
