import Plotly, { type PlotElement } from 'plotly.js-basic-dist-min';
import { element } from '../dom';
import type { Figures } from './figure';

/** Nothing that is shown leaves the machine: Plotly offers its cloud unless it is told not to, and knows its address. */
const LOCAL = { displaylogo: false, showSendToCloud: false, plotlyServerURL: '' };
const CONFIG = { ...LOCAL, modeBarButtonsToRemove: ['toImage', 'select2d', 'lasso2d'] };
const nextTurn = () => new Promise<void>((resolve) => setTimeout(resolve));

/** The plots of a run in an element. Plotly is loaded with the first of them, not with JupyterLab. */
export class Plot {
  private readonly main = element('div') as unknown as PlotElement;
  private readonly small = element('div') as unknown as PlotElement;
  private drawn: Figures | undefined;
  private isGone = false;

  constructor(node: HTMLElement) {
    node.append(this.main, this.small);
  }

  async draw(figures: Figures): Promise<void> {
    if (this.isGone) return;
    const first = !this.drawn;
    this.drawn = figures;
    this.main.style.setProperty('--tunebook-tools', `${figures.main.tools ?? 0}px`);
    await Plotly.react(this.main, figures.main.traces, figures.main.layout, CONFIG);
    if (this.isGone) return; // its cell was cleared while it was drawn
    if (first) this.main.on('plotly_relayout', () => void this.drawSmall());
    await nextTurn();
    await this.drawSmall();
    for (const node of [this.main, this.small])
      for (const svg of node.querySelectorAll('.main-svg')) svg.setAttribute('aria-hidden', 'true');
  }

  /** The small plots show the steps that the main one is zoomed to. */
  private async drawSmall(): Promise<void> {
    if (!this.drawn || this.isGone) return;
    const { traces, layout } = this.drawn.small;
    const range = this.main.layout.xaxis?.range;
    const axes = Object.entries(layout).map(([name, axis]) => [
      name,
      name.startsWith('xaxis') && range ? { ...(axis as object), range: [...range] } : axis,
    ]);
    await Plotly.react(this.small, traces, Object.fromEntries(axes), { ...LOCAL, displayModeBar: false });
  }

  /** Both plots as one picture. */
  async png(background: string): Promise<Blob> {
    const width = 1000;
    const scale = 2;
    const plots = [this.main, this.small].map((node) => ({ node, height: node.layout.height ?? 0 }));
    const total = plots.reduce((sum, { height }) => sum + height, 0);
    const canvas = element('canvas', { width: width * scale, height: total * scale });
    const draw = canvas.getContext('2d') as CanvasRenderingContext2D;
    draw.fillStyle = background;
    draw.fillRect(0, 0, canvas.width, canvas.height);
    let top = 0;
    for (const { node, height } of plots) {
      const url = await Plotly.toImage(node, { format: 'png', width, height, scale });
      draw.drawImage(await createImageBitmap(await (await fetch(url)).blob()), 0, top);
      top += height * scale;
    }
    return new Promise((resolve, reject) =>
      canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('The picture could not be made.')))),
    );
  }

  dispose(): void {
    this.isGone = true;
    for (const node of [this.main, this.small]) Plotly.purge(node);
  }
}
