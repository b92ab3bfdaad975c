import type { ICodeCellModel } from '@jupyterlab/cells';
import type { IOutput } from '@jupyterlab/nbformat';
import type { KernelMessage } from '@jupyterlab/services';
import { isQuestion, type Question } from './question';

/** What the kernel tells of a cell (kernel/src/journal.ts). */
export interface CellNews {
  id: string;
  /** The message that asked for it, and the page that sent that. */
  request: string;
  session: string;
  state: 'waiting' | 'running' | 'over';
  count: number | null;
  outputs: (IOutput & { transient?: { display_id?: string } })[];
  /** Messages that were published for it. */
  told: number;
  /** What it waits to be told. */
  question?: Question;
}

export function isNews(news: unknown): news is CellNews {
  const { id, request, session, outputs, told } = (news ?? {}) as CellNews;
  return [id, request, session].every((text) => typeof text === 'string') && Array.isArray(outputs) && typeof told === 'number';
}

/** A cell that an earlier page had run: here its output goes on, as JupyterLab does it for cells that this page runs. */
export class MissedCell {
  /** Where outputs that can be replaced stand, by their display ids. */
  private readonly places = new Map<string, number[]>();
  /** The number of its prompt, which stands there when it is over. */
  private count: number | null;

  /** Takes away the field of the question that was asked last. */
  private unask = () => {};

  constructor(
    readonly model: ICodeCellModel,
    { outputs, count, state, question }: CellNews,
    /** Asks the reader in this cell. */
    private readonly put: (question: Question) => () => void,
  ) {
    model.trusted = true; // as of any cell that was run here
    model.outputs.clear();
    for (const output of outputs) this.add(output);
    this.count = count;
    model.executionCount = null;
    model.executionState = 'running';
    if (state === 'over') this.end();
    else this.ask(question);
  }

  /** null: it has been answered, on this page or another. */
  ask(question: unknown): void {
    if (question !== null && !isQuestion(question)) return;
    this.unask();
    this.unask = question === null ? () => {} : this.put(question);
  }

  private end(): void {
    this.unask();
    this.model.executionCount = this.count;
    this.model.executionState = 'idle';
  }

  take({ header: { msg_type: type }, content }: KernelMessage.IIOPubMessage): void {
    const { model } = this;
    const told = content as Record<string, unknown>;
    switch (type) {
      case 'execute_input':
        this.count = told.execution_count as number;
        return;
      case 'status':
        if (told.execution_state === 'idle') this.end();
        return;
      case 'clear_output':
        this.places.clear();
        model.outputs.clear(Boolean(told.wait));
        return;
      case 'stream':
      case 'display_data':
      case 'execute_result':
      case 'error':
        this.add({ ...told, output_type: type } as CellNews['outputs'][number]);
    }
  }

  /** Replaces the outputs of this display id, if there are any here. */
  update(id: string, { data, metadata }: Record<string, unknown>): void {
    const { outputs } = this.model;
    for (const place of this.places.get(id) ?? [])
      if (place < outputs.length) outputs.set(place, { output_type: 'display_data', data, metadata } as IOutput);
  }

  private add({ transient, ...output }: CellNews['outputs'][number]): void {
    const length = this.model.outputs.add(output);
    const id = transient?.display_id;
    if (id !== undefined) this.places.set(id, [...(this.places.get(id) ?? []), length - 1]);
  }
}
