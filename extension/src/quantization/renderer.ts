import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Panel } from '@lumino/widgets';
import { parseQuantization, QUANTIZATION_MIME } from '@tunebook/views';
import type { Context } from '../context';
import { QuantizationView } from './view';

/** What packing does to a model's weights, under its cell. What cannot be read is one plain sentence. */
export class QuantizationRenderer extends Panel implements IRenderMime.IRenderer {
  constructor(private readonly context: Context) {
    super();
    this.addClass('tunebook-run');
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    for (const widget of [...this.widgets]) widget.dispose();
    const report = parseQuantization(model.data[QUANTIZATION_MIME]);
    this.node.textContent = typeof report === 'string' ? report : '';
    if (typeof report !== 'string') this.addWidget(new QuantizationView(report, this.context));
    return Promise.resolve();
  }
}
