import { PAPER, SWEEP_MIME, type SweepData, sweepPayload, sweepPicture, sweepSentence, sweepSummary } from '../../views';
import type { Events } from '../core/events';
import type { SweepData as Sweep } from '../trainers/sweep/record';
import { bundleOf } from './bundle';
import { drawn } from './charts';
import { type Bundle, Display, inNotebook } from './display';
import { Throttle } from './throttle';

/** The sweep as its view reads it. */
const viewed = (sweep: Sweep): SweepData => ({ ...sweep, updatedAt: new Date().toISOString() });

/** A sweep as an output, with its picture where one was made. */
export const sweepBundle = (sweep: SweepData, png?: Buffer): Bundle =>
  bundleOf({
    mime: SWEEP_MIME,
    payload: sweepPayload(sweep),
    title: `Sweep ${sweep.name}`,
    rows: sweepSummary(sweep),
    picture: png && { png, alt: `Losses of the runs of the sweep ${sweep.name}` },
  });

/** One view of all runs under the cell, at most one snapshot a second; the picture once at the end. On a terminal a line for each run that is over. */
export class SweepViews {
  private readonly shown = new WeakMap<object, { display: Display; view: Throttle }>();

  update({ sweep: given, what, waits }: Events['sweep']): void {
    const sweep = given as Sweep;
    if (!inNotebook()) {
      if (what === 'change' || what === 'end') process.stderr.write(`${sweepSentence(viewed(sweep))}\n`);
      return;
    }
    let known = this.shown.get(sweep);
    if (!known) {
      const display = new Display(`tunebook-${sweep.id}`);
      known = { display, view: new Throttle(1000, () => display.show(sweepBundle(viewed(sweep)))) };
      this.shown.set(sweep, known);
    }
    const { display, view } = known;
    if (what === 'step') view.call();
    else view.flush();
    if (what === 'end') waits?.push(drawn(sweepPicture(viewed(sweep), PAPER)).then((png) => display.show(sweepBundle(viewed(sweep), png))));
  }
}
