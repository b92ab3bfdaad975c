import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Panel } from '@lumino/widgets';
import { parseRun, RUN_MIME } from '@tunebook/views';
import type { Context } from '../context';
import type { RunStore } from './store';
import { RunView } from './view';

/** A run under its cell. What cannot be read is one plain sentence. */
export class RunRenderer extends Panel implements IRenderMime.IRenderer {
  private view: { id: string; widget: RunView } | undefined;

  constructor(
    private readonly store: RunStore,
    private readonly context: Context,
  ) {
    super();
    this.addClass('tunebook-run');
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const run = parseRun(model.data[RUN_MIME]);
    if (typeof run === 'string') {
      this.view?.widget.dispose();
      this.view = undefined;
      this.node.textContent = run;
      return Promise.resolve();
    }
    const entry = this.store.take(run);
    if (this.view?.id !== run.id) {
      this.view?.widget.dispose();
      this.node.textContent = '';
      this.view = { id: run.id, widget: new RunView(entry, this.store, this.context) };
      this.addWidget(this.view.widget);
    }
    return Promise.resolve();
  }
}
