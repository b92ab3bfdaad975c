import type { ISessionContext } from '@jupyterlab/apputils';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';
import { type Known, parseRun, RUN_COMM, RUN_MIME } from '@tunebook/views';
import type { RunStore } from './store';

interface Output {
  readonly data: Record<string, unknown>;
  setData(options: { data: Record<string, unknown> }): void;
}

/** The outputs of a notebook that hold runs. */
export function* runOutputs(notebook: NotebookPanel): Generator<Output> {
  for (const cell of notebook.content.model?.cells ?? []) {
    if (cell.type !== 'code') continue;
    const { outputs } = cell as unknown as { outputs: { length: number; get(i: number): Output } };
    for (let i = 0; i < outputs.length; i++) if (outputs.get(i).data[RUN_MIME] !== undefined) yield outputs.get(i);
  }
}

/**
 * Brings in what a page that was reloaded has missed: runs that the kernel knows are told to the store, and the output of one that is
 * over gets its last state, so that the notebook's file has it too.
 */
export function bringIn(notebook: NotebookPanel, store: RunStore): void {
  const session: ISessionContext = notebook.sessionContext;
  let comm: Kernel.IComm | undefined;
  const take = ({ type, output }: Known) => {
    if (type !== 'known') return;
    const run = parseRun(output[RUN_MIME]);
    if (typeof run === 'string') return;
    const isOver = run.status !== 'running' && run.status !== 'paused';
    for (const shown of isOver ? runOutputs(notebook) : []) {
      const before = parseRun(shown.data[RUN_MIME]);
      if (typeof before !== 'string' && before.id === run.id && before.status !== run.status) shown.setData({ data: output });
    }
    store.take(run);
  };
  const connect = () => {
    const kernel = session.session?.kernel;
    if (!kernel?.handleComms || notebook.isDisposed) return;
    comm = kernel.createComm(RUN_COMM);
    comm.onMsg = (message) => void notebook.context.ready.then(() => take(message.content.data as unknown as Known));
    comm.open({});
  };
  session.kernelChanged.connect(connect);
  session.connectionStatusChanged.connect((_, status) => {
    if (status === 'connected' && (!comm || comm.isDisposed)) connect();
  });
  void session.ready.then(connect);
  notebook.disposed.connect(() => {
    if (comm && !comm.isDisposed) comm.close();
  });
}
