import { type Cell, CodeCell, type ICellModel } from '@jupyterlab/cells';
import type { Kernel, KernelMessage } from '@jupyterlab/services';
import type { Widget } from '@lumino/widgets';

/** What a cell wants to know from its reader; `id` is of the message that asked it. */
export interface Question {
  id: string;
  prompt: string;
  password: boolean;
}

export function isQuestion(question: unknown): question is Question {
  const { id, prompt, password } = (question ?? {}) as Question;
  return typeof id === 'string' && typeof prompt === 'string' && typeof password === 'boolean';
}

/** How an output area asks for the cells that its own page has run. */
interface Asking {
  onInputRequest(message: KernelMessage.IInputRequestMsg, future: Kernel.IShellFuture): void;
}

/** Asks in a cell as JupyterLab does it; the function that is returned takes the field away. */
export function askIn(cells: readonly Cell[], model: ICellModel, question: Question, kernel: Kernel.IKernelConnection): () => void {
  const cell = cells.find((one) => one.model === model);
  if (!(cell instanceof CodeCell)) return () => {};
  const area = cell.outputArea;
  let field: Widget | undefined;
  const heard = (_: unknown, asked: Widget) => {
    field = asked;
  };
  const { id: msg_id, prompt, password } = question;
  const message = { header: { msg_id, msg_type: 'input_request' }, content: { prompt, password } };
  const reply: Kernel.IShellFuture['sendInputReply'] = (content, parent) => kernel.sendInputReply(content, parent);
  area.inputRequested.connect(heard);
  (area as unknown as Asking).onInputRequest(message as KernelMessage.IInputRequestMsg, { sendInputReply: reply } as Kernel.IShellFuture);
  area.inputRequested.disconnect(heard);
  return () => field?.parent?.dispose();
}
