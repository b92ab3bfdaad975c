import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Widget } from '@lumino/widgets';
import { parseRun, RUN_MIME, type RunPayload, summary } from '@tunebook/views';
import type { Plot } from './plot';

/** A run under its cell: summary line, plot, the figures as a table. Updated in place while the run goes on. */
export class RunView extends Widget implements IRenderMime.IRenderer {
  private readonly heading = document.createElement('p');
  private readonly figure = document.createElement('div');
  private readonly details = document.createElement('details');
  private plot: Promise<Plot> | undefined;
  private run: RunPayload | undefined;

  constructor() {
    super();
    this.addClass('tunebook-run');
    this.heading.setAttribute('role', 'status');
    this.figure.className = 'tunebook-plot';
    const label = document.createElement('summary');
    label.textContent = 'Figures as a table';
    this.details.append(label);
    this.node.append(this.heading, this.figure, this.details);
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const run = parseRun(model.data[RUN_MIME]);
    if (typeof run === 'string') {
      this.heading.textContent = run;
      this.figure.hidden = true;
      this.details.hidden = true;
      return;
    }
    this.run = run;
    this.figure.hidden = false;
    this.details.hidden = false;
    const rows = summary(run);
    this.heading.textContent = `Run ${run.name}: ${rows[0][1]}`;
    this.figure.setAttribute('role', 'img');
    this.figure.setAttribute('aria-label', rows.map(([name, value]) => `${name}: ${value}`).join('; '));
    const table = document.createElement('table');
    for (const [name, value] of rows) {
      const row = table.insertRow();
      const head = document.createElement('th');
      head.scope = 'row';
      head.textContent = name;
      row.append(head);
      row.insertCell().textContent = value;
    }
    this.details.querySelector('table')?.remove();
    this.details.append(table);
    // plotly is loaded with the first view, not with JupyterLab.
    this.plot ??= import('./plot').then(({ Plot }) => new Plot(this.figure));
    (await this.plot).draw(run);
  }

  protected override onResize(): void {
    void this.plot?.then((plot) => this.run && plot.draw(this.run));
  }

  protected override onAfterShow(): void {
    this.onResize();
  }

  override dispose(): void {
    void this.plot?.then((plot) => plot.dispose());
    super.dispose();
  }
}
