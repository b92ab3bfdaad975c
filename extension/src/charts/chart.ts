import type { ChartSpec } from '@tunebook/views';
import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';

/** A vega-lite chart in an element. Loaded with the first chart, not with JupyterLab. */
export class Chart {
  private view: View | undefined;

  constructor(private readonly node: HTMLElement) {}

  async draw(label: string, spec: ChartSpec, click?: (datum: Record<string, unknown>) => void): Promise<void> {
    this.view?.finalize();
    const view = new View(parse(compile(spec as unknown as TopLevelSpec).spec), { renderer: 'svg', container: this.node, hover: true });
    this.view = view;
    if (click)
      view.addEventListener('click', (_, item) => {
        if (item?.datum) click(item.datum as Record<string, unknown>);
      });
    await view.runAsync();
    // Vega names the element after itself. Its parts are no stops for a screen reader: a table has the figures.
    this.node.setAttribute('role', 'img');
    this.node.setAttribute('aria-label', label);
    this.node.querySelector('svg')?.setAttribute('aria-hidden', 'true');
  }

  async png(): Promise<Blob> {
    const url = await (this.view as View).toImageURL('png', 2);
    return (await fetch(url)).blob();
  }

  dispose(): void {
    this.view?.finalize();
  }
}
