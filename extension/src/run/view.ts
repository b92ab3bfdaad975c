import { Widget } from '@lumino/widgets';
import { runCsv, runSvg, summary } from '@tunebook/views';
import type { Context } from '../context';
import { button, download, element, fileName, freshId, tabs } from '../dom';
import { background, themeNow, words } from '../theme';
import { Aside } from './aside';
import { Compare } from './compare';
import { Controls } from './controls';
import { figures, heightOf } from './figure';
import { figuresPanel } from './figures';
import type { Plot } from './plot';
import { remember, remembered } from './remembered';
import { rested } from './rested';
import { samplesPanel } from './samples';
import type { RunEntry, RunStore } from './store';

/** Views redraw at most so often, in milliseconds. */
const BETWEEN = 250;
/** Pixels from which on the samples stand beside the plot. */
const WIDE = 900;

/** One run: what it comes to, buttons, plot, samples, tables. It draws only while it can be seen. */
export class RunView extends Widget {
  private readonly heading = element('p', { className: 'tunebook-heading' });
  private readonly age = element('p', { className: 'tunebook-age' });
  private readonly still = element('img', { className: 'tunebook-still', alt: '' });
  private readonly drawing = element('div', { className: 'tunebook-plot' });
  private readonly plotPanel = element('div', { className: 'tunebook-whole' });
  private readonly samplesPanel = element('div', { tabIndex: 0 });
  private readonly figuresPanel = element('div', { tabIndex: 0 });
  private readonly body = element('div', { className: 'tunebook-body' });
  private readonly controls: Controls;
  private readonly aside: Aside;
  private readonly compare: Compare;
  private smoothing = 0;
  private logScale = false;
  private page: HTMLElement = this.plotPanel;
  private visible = false;
  private stale = true;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private clock: ReturnType<typeof setInterval> | undefined;
  private plot: Promise<Plot> | undefined;
  private readonly observer: IntersectionObserver;
  private readonly sizes: ResizeObserver;

  constructor(
    private readonly entry: RunEntry,
    private readonly store: RunStore,
    private readonly context: Context,
  ) {
    super();
    const { trans, settings } = context;
    this.addClass('tunebook-view');
    const { smoothing, logScale } = { ...settings, ...remembered(entry.data.id) };
    Object.assign(this, { smoothing, logScale });
    this.controls = new Controls(entry, trans);
    this.aside = new Aside(entry, trans);
    this.compare = new Compare(entry, store, context, () => this.changed());
    this.plotPanel.append(this.drawing, this.aside.node, this.compare.differences);
    // Not an img: it holds the plot's own buttons.
    this.drawing.setAttribute('role', 'figure');
    const bar = tabs(
      [
        [trans.__('Plot'), this.plotPanel],
        [trans.__('Samples'), this.samplesPanel],
        [trans.__('Figures'), this.figuresPanel],
      ],
      trans.__('Views of the run'),
      (panel) => {
        this.page = panel;
        this.changed();
      },
    );
    this.body.append(this.plotPanel, this.samplesPanel, this.figuresPanel);
    this.node.append(
      this.heading,
      this.age,
      this.controls.node,
      element('div', { className: 'tunebook-bar' }, bar, this.tools()),
      this.body,
    );
    this.drawing.append(this.still);
    entry.changed.connect(this.changed, this);
    store.changed.connect(this.onStore, this);
    context.restyled.connect(this.changed, this);
    this.observer = new IntersectionObserver((entries) => {
      // After quick scrolling there are several: the last is how it is.
      this.visible = entries[entries.length - 1].isIntersecting;
      if (this.visible && this.stale) this.changed();
    });
    this.observer.observe(this.node);
    this.sizes = new ResizeObserver(() => this.changed());
    this.sizes.observe(this.drawing);
    this.showState();
  }

  /** Whether it is this run that it shows. */
  shows({ data }: RunEntry): boolean {
    return data.id === this.entry.data.id;
  }

  /** Sliders and buttons that change how the run is drawn, and those that share it. */
  private tools(): HTMLElement {
    const { trans } = this.context;
    const id = freshId();
    const smoothing = element('input', { type: 'range', min: '0', max: '0.99', step: '0.01', id, value: String(this.smoothing) });
    const shown = element('output', { for: id, className: 'tunebook-smoothing', textContent: this.smoothing.toFixed(2) });
    smoothing.oninput = () => {
      this.smoothing = Number(smoothing.value);
      shown.textContent = this.smoothing.toFixed(2);
      this.restyle();
    };
    const log = element('input', { type: 'checkbox', checked: this.logScale });
    log.onchange = () => {
      this.logScale = log.checked;
      this.restyle();
    };
    const { name } = this.entry.data;
    const csv = () => download(`${fileName(name)}.csv`, new Blob([runCsv(this.entry.data)], { type: 'text/csv' }));
    return element(
      'div',
      { className: 'tunebook-tools' },
      element('label', { for: id, textContent: trans.__('Smoothing') }),
      smoothing,
      shown,
      element('label', {}, log, trans.__('log scale')),
      this.compare.menu,
      button(trans.__('PNG'), trans.__('Save the plot as a picture'), () => this.savePicture()),
      button(trans.__('CSV'), trans.__('Save all figures as a table'), csv),
      button(trans.__('Folder'), trans.__('Show where the run is saved'), () => this.openFolder()),
    );
  }

  private restyle(): void {
    remember(this.entry.data.id, { smoothing: this.smoothing, logScale: this.logScale });
    this.changed();
  }

  private async savePicture(): Promise<void> {
    const plot = await this.plot;
    if (plot) download(`${fileName(this.entry.data.name)}.png`, await plot.png(background()));
  }

  private async openFolder(): Promise<void> {
    const { folder } = this.entry.data;
    if (await this.context.openFolder(folder, this.store.path())) return;
    this.age.textContent = this.context.trans.__('The run is saved in %1, which the file browser does not reach.', folder);
  }

  private onStore(_: RunStore, entry: RunEntry): void {
    if (entry !== this.entry) this.changed();
  }

  /** Asks for a redraw: at once, or when the last one is long enough ago; while nobody sees the view, not at all. */
  private changed(): void {
    this.stale = true;
    if (this.isDisposed) return;
    this.showState();
    if (this.timer || !this.visible) return;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      if (this.stale && this.visible) void this.draw();
    }, BETWEEN);
    if (this.plot === undefined || this.page !== this.plotPanel) void this.draw();
  }

  /** The lines above the plot: cheap, and never late. */
  private showState(): void {
    const { data } = this.entry;
    // What is being worked on stands in a line of its own: the page does not move.
    const [[, state], ...rest] = summary({ ...data, doing: undefined });
    const loss = rest.find(([label]) => label.includes('loss'))?.[1];
    this.heading.textContent = [`${data.name}: ${state}`, loss && `${this.context.trans.__('loss')} ${loss}`].filter(Boolean).join(' · ');
    this.controls.update();
    this.aside.update();
    this.aside.node.hidden = this.aside.empty;
    this.plotPanel.classList.toggle('tunebook-beside', this.isWide && !this.aside.empty);
    clearInterval(this.clock);
    const showAge = () => {
      this.age.textContent = this.entry.current ? '' : this.oldText();
    };
    showAge();
    if (!this.entry.current) this.clock = setInterval(showAge, 30_000);
  }

  private oldText(): string {
    const { trans } = this.context;
    const seconds = Math.max(0, (Date.now() - Date.parse(this.entry.data.updatedAt)) / 1000);
    if (!Number.isFinite(seconds)) return trans.__('Shown is what was saved; training may have gone on.');
    const age =
      seconds < 90
        ? trans.__('%1 s', Math.round(seconds))
        : seconds < 5400
          ? trans.__('%1 minutes', Math.round(seconds / 60))
          : trans.__('%1 hours', Math.round(seconds / 3600));
    return trans.__('Shown is what was known %1 ago (%2).', age, new Date(this.entry.data.updatedAt).toLocaleString());
  }

  private async draw(): Promise<void> {
    this.stale = false;
    const { data } = this.entry;
    const { trans } = this.context;
    const named = words(trans);
    if (this.page === this.samplesPanel) return this.samplesPanel.replaceChildren(samplesPanel(data.samples, trans));
    if (this.page === this.figuresPanel) return this.figuresPanel.replaceChildren(figuresPanel(data, named, trans));
    this.drawing.setAttribute(
      'aria-label',
      summary(data)
        .map(([name, value]) => `${name}: ${value}`)
        .join('; '),
    );
    // A still picture is there at once; it stays if the plot's code cannot be loaded.
    if (!this.plot) this.still.src = `data:image/svg+xml,${encodeURIComponent(runSvg(data))}`;
    this.plot ??= import('./plot').then(({ Plot }) => new Plot(this.drawing));
    const plot = await this.plot.catch(() => undefined);
    if (this.still.isConnected) await rested();
    if (!plot || this.isDisposed) return;
    if (!this.visible) {
      this.stale = true;
      return;
    }
    this.still.remove();
    const { smoothing, logScale } = this;
    const theme = themeNow();
    const drawn = figures(data, { ...this.compare.chosen(), smoothing, logScale, width: this.drawing.clientWidth, theme, words: named });
    this.measure(heightOf(drawn) + 4);
    await plot.draw(drawn);
  }

  /** Whether there is room beside a plot that is wide itself. */
  private get isWide(): boolean {
    return this.node.clientWidth >= WIDE;
  }

  /** All pages are as high as the plot and what is beside or below it need: nothing is cut, and the notebook does not jump between them. */
  private measure(plot: number): void {
    this.drawing.style.height = `${plot}px`;
    this.aside.node.style.maxHeight = this.isWide ? `${plot}px` : '';
    const below = this.isWide || this.aside.empty ? 0 : this.aside.node.offsetHeight;
    this.body.style.height = `${plot + below + this.compare.differences.offsetHeight}px`;
  }

  override dispose(): void {
    if (this.isDisposed) return;
    clearTimeout(this.timer);
    clearInterval(this.clock);
    this.observer.disconnect();
    this.sizes.disconnect();
    this.entry.changed.disconnect(this.changed, this);
    this.store.changed.disconnect(this.onStore, this);
    this.context.restyled.disconnect(this.changed, this);
    void this.plot?.then(
      (plot) => plot.dispose(),
      () => {},
    );
    super.dispose();
  }
}
