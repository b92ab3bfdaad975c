import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Panel } from '@lumino/widgets';
import { parseSweep, SWEEP_MIME } from '@tunebook/views';
import type { Context } from '../context';
import type { RunStore } from '../run/store';
import { SweepView } from './view';

/** A sweep under its cell; what is new changes the view that is there. What cannot be read is one plain sentence. */
export class SweepRenderer extends Panel implements IRenderMime.IRenderer {
  private view: { id: string; widget: SweepView } | undefined;

  constructor(
    private readonly store: RunStore,
    private readonly context: Context,
  ) {
    super();
    this.addClass('tunebook-run');
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const sweep = parseSweep(model.data[SWEEP_MIME]);
    if (typeof sweep === 'string' || this.view?.id !== sweep.id) {
      this.view?.widget.dispose();
      this.view = undefined;
      this.node.textContent = typeof sweep === 'string' ? sweep : '';
    }
    if (typeof sweep === 'string') return Promise.resolve();
    if (this.view) this.view.widget.set(sweep);
    else {
      this.view = { id: sweep.id, widget: new SweepView(sweep, this.store, this.context) };
      this.addWidget(this.view.widget);
    }
    return Promise.resolve();
  }
}
