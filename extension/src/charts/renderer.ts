import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Panel, type Widget } from '@lumino/widgets';

/** What travels under a type, as a view of its own below its cell. What cannot be read is one plain sentence. */
export class ViewRenderer<T extends object> extends Panel implements IRenderMime.IRenderer {
  constructor(
    private readonly mime: string,
    private readonly parse: (payload: unknown) => T | string,
    private readonly view: (data: T) => Widget,
    className = 'tunebook-run',
  ) {
    super();
    this.addClass(className);
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    for (const widget of [...this.widgets]) widget.dispose();
    const data = this.parse(model.data[this.mime]);
    this.node.textContent = typeof data === 'string' ? data : '';
    if (typeof data !== 'string') this.addWidget(this.view(data));
    return Promise.resolve();
  }
}
