import Plotly from 'plotly.js-basic-dist-min';
import type { Figure } from './figure';

/** Plotly in an element. Loaded with the first plot, not with JupyterLab. */
export class Plot {
  constructor(private readonly node: HTMLElement) {}

  async draw({ traces, layout }: Figure): Promise<void> {
    await Plotly.react(this.node, traces, layout, { displaylogo: false, modeBarButtonsToRemove: ['toImage', 'select2d', 'lasso2d'] });
    for (const svg of this.node.querySelectorAll('.main-svg')) svg.setAttribute('aria-hidden', 'true');
  }

  async png(background: string): Promise<Blob> {
    const plot = this.node.cloneNode(false) as HTMLElement & { data?: object[]; layout?: object };
    const drawn = this.node as unknown as { data: object[]; layout: object };
    try {
      await Plotly.react(plot, drawn.data, { ...drawn.layout, paper_bgcolor: background, plot_bgcolor: background }, { staticPlot: true });
      const url = await Plotly.toImage(plot, { format: 'png', width: 1000, height: 560, scale: 2 });
      return await (await fetch(url)).blob();
    } finally {
      Plotly.purge(plot);
    }
  }

  dispose(): void {
    Plotly.purge(this.node);
  }
}
