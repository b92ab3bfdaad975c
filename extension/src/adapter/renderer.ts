import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Panel } from '@lumino/widgets';
import { ADAPTER_MIME, parseAdapter } from '@tunebook/views';
import type { Context } from '../context';
import { AdapterView } from './view';

/** An adapter under its cell. What cannot be read is one plain sentence. */
export class AdapterRenderer extends Panel implements IRenderMime.IRenderer {
  constructor(private readonly context: Context) {
    super();
    this.addClass('tunebook-run');
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    for (const widget of [...this.widgets]) widget.dispose();
    const adapter = parseAdapter(model.data[ADAPTER_MIME]);
    this.node.textContent = typeof adapter === 'string' ? adapter : '';
    if (typeof adapter !== 'string') this.addWidget(new AdapterView(adapter, this.context));
    return Promise.resolve();
  }
}
