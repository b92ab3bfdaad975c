import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Panel, type Widget } from '@lumino/widgets';

/** How a payload becomes a view. */
export interface Rendering<T extends object, W extends Widget> {
  mime: string;
  /** The payload's data, or a sentence where it cannot be read. */
  parse(payload: unknown): T | string;
  view(data: T): W;
  /** Whether the view that is there shows this data too, and takes it: a run that goes on. Otherwise another takes its place. */
  goesOn?(view: W, data: T): boolean;
  className?: string;
}

/** What travels under a type, as a view of its own below its cell. What cannot be read is one plain sentence. */
export class ViewRenderer<T extends object, W extends Widget = Widget> extends Panel implements IRenderMime.IRenderer {
  private view: W | undefined;

  constructor(private readonly how: Rendering<T, W>) {
    super();
    this.addClass(how.className ?? 'tunebook-run');
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const { mime, parse, view, goesOn } = this.how;
    const data = parse(model.data[mime]);
    if (typeof data !== 'string' && this.view && goesOn?.(this.view, data)) return Promise.resolve();
    this.view?.dispose();
    this.view = undefined;
    this.node.textContent = typeof data === 'string' ? data : '';
    if (typeof data !== 'string') {
      this.view = view(data);
      this.addWidget(this.view);
    }
    return Promise.resolve();
  }
}
