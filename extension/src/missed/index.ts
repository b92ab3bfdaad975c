import type { Cell, ICodeCellModel } from '@jupyterlab/cells';
import type { DocumentRegistry } from '@jupyterlab/docregistry';
import { type INotebookModel, NotebookActions } from '@jupyterlab/notebook';
import type { Kernel, KernelMessage } from '@jupyterlab/services';
import { isOurs } from '../kernel';
import { type CellNews, isNews, MissedCell } from './cell';
import { Pages } from './pages';
import { askIn, type Question } from './question';

/** The comm target by which the kernel's journal is asked (kernel/src/journal.ts). */
const CELLS_COMM = 'tunebook.cells';

/**
 * Brings in what a page has missed: output of cells that another page had run, and that is gone, goes on in them here, and so comes into
 * the notebook's file. JupyterLab itself drops it. What a saved file holds is told to the kernel, which need not keep it then.
 */
export class Missed {
  /** Messages that were seen, by the request that they belong to. */
  private readonly counts = new Map<string, number>();
  /** The request that first showed a display, by its id. */
  private readonly owners = new Map<string, string>();
  private readonly cells = new Map<string, MissedCell>();
  private readonly pages = new Pages();
  private comm: Kernel.IComm | undefined;

  constructor(
    private readonly context: DocumentRegistry.IContext<INotebookModel>,
    /** The cells on the page. */
    private readonly widgets: () => readonly Cell[],
  ) {
    const { sessionContext: session } = context;
    session.iopubMessage.connect((_, message) => this.see(message as KernelMessage.IIOPubMessage));
    session.kernelChanged.connect(this.connect, this);
    session.connectionStatusChanged.connect((_, status) => {
      if (status === 'connected' && (!this.comm || this.comm.isDisposed)) void this.connect();
    });
    let saved = {};
    context.saveState.connect((_, state) => {
      if (state === 'started') saved = Object.fromEntries(this.counts);
      if (state === 'completed' && this.comm && !this.comm.isDisposed) this.comm.send({ saved });
    });
    // A cell that is run again is this page's own.
    const own = (_: unknown, { cell }: { cell: { model: unknown } }) => {
      for (const [request, { model }] of this.cells) if (model === cell.model) this.cells.delete(request);
    };
    NotebookActions.executionScheduled.connect(own);
    context.disposed.connect(() => {
      NotebookActions.executionScheduled.disconnect(own);
      this.pages.close();
    });
    void Promise.all([session.ready, context.ready]).then(() => this.connect());
  }

  private async connect(): Promise<void> {
    const { context, pages } = this;
    const kernel = context.sessionContext.session?.kernel;
    if (!kernel || !context.isReady || !(await isOurs(kernel))) return;
    pages.name = kernel.clientId;
    const here = await pages.ask();
    if (context.isDisposed || context.sessionContext.session?.kernel !== kernel) return;
    this.comm = kernel.createComm(CELLS_COMM);
    // At once and in its turn: what is published after this answer is not in it.
    this.comm.onMsg = ({ content }) => {
      const { cells, asked } = content.data as { cells?: unknown; asked?: { request: string; question: unknown } };
      if (Array.isArray(cells)) for (const news of cells) if (isNews(news)) this.bring(news, kernel);
      if (asked) this.cells.get(asked.request)?.ask(asked.question);
    };
    this.comm.open({ here });
  }

  private bring(news: CellNews, kernel: Kernel.IKernelConnection): void {
    const { request } = news;
    this.counts.set(request, news.told);
    for (const { transient } of news.outputs) if (transient?.display_id) this.owners.set(transient.display_id, request);
    const model = [...this.context.model.cells].find(({ id, type }) => id === news.id && type === 'code');
    if (!model) return;
    const ask = (question: Question) => askIn(this.widgets(), model, question, kernel);
    this.cells.set(request, new MissedCell(model as ICodeCellModel, news, ask));
  }

  private see(message: KernelMessage.IIOPubMessage): void {
    const { msg_id: request, msg_type: type } = message.parent_header as { msg_id?: string; msg_type?: string };
    if (request === undefined || type !== 'execute_request') return;
    this.count(request);
    const { transient } = message.content as { transient?: { display_id?: string } };
    const id = transient?.display_id;
    if (id !== undefined) {
      const owner = this.owners.get(id);
      if (owner === undefined) this.owners.set(id, request);
      else if (owner !== request) this.count(owner);
      for (const cell of this.cells.values()) cell.update(id, message.content as Record<string, unknown>);
    }
    this.cells.get(request)?.take(message);
  }

  private count(request: string): void {
    this.counts.set(request, (this.counts.get(request) ?? 0) + 1);
  }
}
