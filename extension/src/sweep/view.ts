import { lookOf, type RunData, type SweepData, type SweepRunData, sweepFigures, sweepSentence, sweepSpec } from '@tunebook/views';
import { Place } from '../charts/place';
import { ChartView } from '../charts/view';
import type { Context } from '../context';
import { button, element } from '../dom';
import type { RunEntry, RunStore } from '../run/store';
import { themeNow } from '../theme';

/** A sample of how a run's curves are drawn. */
function sample(i: number): SVGElement {
  const { colour, dash } = lookOf(i);
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const line = document.createElementNS('http://www.w3.org/2000/svg', 'line');
  const attributes = { x1: 0, x2: 26, y1: 5, y2: 5, stroke: colour, 'stroke-width': 3, 'stroke-dasharray': dash.join(' ') };
  for (const [name, value] of Object.entries(attributes)) line.setAttribute(name, String(value));
  svg.setAttribute('width', '26');
  svg.setAttribute('height', '10');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(line);
  return svg;
}

/** A run that trains, as far as its sweep knows it; the kernel tells the rest. */
const liveRun = ({ updatedAt }: SweepData, { id, name, folder, step, totalSteps, loss, eval_loss, peakBytes }: SweepRunData): RunData => ({
  ...{ id, name, folder, status: 'running', startedAt: updatedAt, updatedAt, step, totalSteps },
  series: { loss, eval_loss, learning_rate: [], grad_norm: [], tokens_per_second: [], resident_bytes: [] },
  memory: { residentBytes: peakBytes, peakBytes, machineBytes: 0 },
  ...{ config: {}, events: [], checkpoints: [], samples: [] },
});

/** All runs of a sweep: their curves in one picture, and a row for each with what was tried, its figures, and a button that stops it. */
export class SweepView extends ChartView {
  private readonly curves = new Place();
  private readonly heading = element('p', { className: 'tunebook-heading' });
  private readonly said = element('p', { role: 'status', className: 'tunebook-age' });
  private readonly rows = element('div', { tabIndex: 0, className: 'tunebook-sweep-rows' });
  private selected: string | undefined;
  private listed = '';
  /** The run that can be stopped, and what it says. */
  private running: RunEntry | undefined;

  constructor(
    private data: SweepData,
    private readonly store: RunStore,
    context: Context,
  ) {
    super(context);
    this.node.append(this.heading, this.curves.node, this.said, this.rows);
    store.changed.connect(this.follow, this);
    this.list();
  }

  /** Shows what is newer of the same sweep; false of another. */
  goesOn(data: SweepData): boolean {
    if (data.id !== this.data.id) return false;
    if (data.updatedAt < this.data.updatedAt) return true;
    this.data = data;
    this.list();
    this.redraw();
    return true;
  }

  private select(name: string): void {
    this.selected = this.selected === name ? undefined : name;
    this.list();
    this.redraw();
  }

  /** The live run of a row, where the kernel that trains it is behind this view; it is followed from when it is first seen here. */
  private entryOf(run: SweepRunData): RunEntry | undefined {
    if (run.status !== 'running' && run.status !== 'paused') return undefined;
    const known = this.store.all().find((entry) => entry.data.id === run.id) ?? this.store.take(liveRun(this.data, run));
    return known.idleReason ? undefined : known;
  }

  private follow(_: RunStore, entry: RunEntry): void {
    if (this.running ? entry !== this.running : !this.data.runs.some(({ id }) => id === entry.data.id)) return;
    this.list();
  }

  private list(): void {
    const { data, selected, context } = this;
    const { trans } = context;
    const heading = trans.__('Sweep %1: %2', data.name, sweepSentence(data));
    if (this.heading.textContent !== heading) this.heading.textContent = heading;
    const at = data.runs.findIndex((run) => this.entryOf(run));
    this.running = at < 0 ? undefined : this.entryOf(data.runs[at]);
    const said = this.running?.said ?? data.runs.find(({ name, text }) => name === selected && text)?.text ?? '';
    if (this.said.textContent !== said) this.said.textContent = said;
    const now = JSON.stringify([data.runs.map((run) => [run.values, sweepFigures(run)]), data.best, selected, at]);
    if (now === this.listed) return;
    this.listed = now;
    // The focus stays on a row's button while figures change.
    const focused = this.rows.querySelector<HTMLElement>(':focus')?.dataset.key;
    this.rows.replaceChildren(this.table(at));
    if (focused) this.rows.querySelector<HTMLElement>(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  private table(stoppable: number): HTMLElement {
    const { data } = this;
    const { trans } = this.context;
    const heads = [
      trans.__('run'),
      ...data.vary,
      trans.__('status'),
      trans.__('step'),
      trans.__('trained'),
      trans.__('time'),
      trans.__('memory'),
    ];
    const losses = [trans.__('loss'), trans.__('eval loss'), ...(this.hasScore ? [data.score] : []), ''];
    const head = [...heads, ...losses].map((text) => element(text ? 'th' : 'td', { ...(text && { scope: 'col' }), textContent: text }));
    return element(
      'table',
      { className: 'tunebook-sweep' },
      element('caption', { textContent: trans.__('Runs') }),
      element('thead', {}, element('tr', {}, ...head)),
      element('tbody', {}, ...data.runs.map((run, i) => this.row(run, i, i === stoppable))),
    );
  }

  /** Whether runs are compared by something that the other columns do not have. */
  private get hasScore(): boolean {
    return !['loss', 'eval_loss'].includes(this.data.score);
  }

  private row(run: SweepRunData, i: number, stoppable: boolean): HTMLElement {
    const { data, selected } = this;
    const { trans } = this.context;
    const best = i === data.best;
    const figures = sweepFigures(run).slice(0, this.hasScore ? undefined : -1);
    if (best) figures[0] = `${figures[0]}, ${trans.__('best')}`;
    const choose = button(String(i + 1), trans.__('Show the curves of %1', run.name), () => this.select(run.name));
    choose.dataset.key = `choose-${i}`;
    choose.setAttribute('aria-pressed', String(run.name === selected));
    const stop =
      stoppable &&
      button(trans.__('Stop'), trans.__('End this run after its step, saved; the next begins'), () => this.running?.ask('stop'));
    if (stop) stop.dataset.key = `stop-${i}`;
    return element(
      'tr',
      { className: [best && 'tunebook-best', run.name === selected && 'tunebook-chosen'].filter(Boolean).join(' ') },
      element('th', { scope: 'row' }, choose, ' ', sample(i) as unknown as Node),
      ...[...run.values, ...figures].map((textContent) => element('td', { textContent })),
      element('td', {}, stop),
    );
  }

  protected override async draw(width: number): Promise<void> {
    const { data, selected, context } = this;
    const best = data.best === null ? undefined : data.runs[data.best].name;
    const label = `${sweepSentence(data)}. ${context.trans.__('The table below has the figures.')}`;
    await this.curves.draw(label, sweepSpec(data, themeNow(), { selected: selected ?? best, width }), (datum) => {
      if (typeof datum.run === 'string') this.select(datum.run);
    });
  }

  protected override get places(): ChartView['places'] {
    return [this.curves];
  }

  override dispose(): void {
    if (this.isDisposed) return;
    this.store.changed.disconnect(this.follow, this);
    super.dispose();
  }
}
