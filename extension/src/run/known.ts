import type { ISessionContext } from '@jupyterlab/apputils';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';
import { type Known, parseRun, RUN_COMM, RUN_MIME } from '@tunebook/views';
import { isOurs } from '../kernel';
import type { RunStore } from './store';

/** The runs that a notebook's outputs hold. */
export function* runOutputs(notebook: NotebookPanel): Generator<Record<string, unknown>> {
  for (const cell of notebook.content.model?.cells ?? []) {
    if (cell.type !== 'code') continue;
    const { outputs } = cell as unknown as { outputs: { length: number; get(i: number): { data: Record<string, unknown> } } };
    for (let i = 0; i < outputs.length; i++) if (outputs.get(i).data[RUN_MIME] !== undefined) yield outputs.get(i).data;
  }
}

/** The runs that the kernel knows are told to the store, also those of cells that are not in the notebook any more. */
export function hearOfRuns(notebook: NotebookPanel, store: RunStore): void {
  const session: ISessionContext = notebook.sessionContext;
  let comm: Kernel.IComm | undefined;
  const connect = async () => {
    const kernel = session.session?.kernel;
    if (!kernel || !(await isOurs(kernel)) || notebook.isDisposed || session.session?.kernel !== kernel) return;
    comm = kernel.createComm(RUN_COMM);
    comm.onMsg = ({ content }) => {
      const { type, run: payload } = content.data as unknown as Known;
      const run = type === 'known' ? parseRun(payload) : '';
      if (typeof run !== 'string') store.take(run);
    };
    comm.open({});
  };
  session.kernelChanged.connect(() => void connect());
  session.connectionStatusChanged.connect((_, status) => {
    if (status === 'connected' && (!comm || comm.isDisposed)) void connect();
  });
  void session.ready.then(connect);
  notebook.disposed.connect(() => {
    if (comm && !comm.isDisposed) comm.close();
  });
}
