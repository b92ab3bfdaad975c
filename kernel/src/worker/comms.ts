import { randomUUID } from 'node:crypto';
import type { ToWorker } from '../worker';
import { DisplayError, textOf } from './errors';
import { emit } from './output';

function toBytes(buffer: Uint8Array | ArrayBuffer): Uint8Array {
  if (buffer instanceof ArrayBuffer) return new Uint8Array(buffer);
  if (!ArrayBuffer.isView(buffer)) throw new TypeError(`expected buffers of bytes, found ${typeof buffer}`);
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

type Data = Record<string, unknown>;
type Listener = (data: Data, buffers: Uint8Array[], metadata: Data) => void;

/** One end of a comm (https://jupyter-client.readthedocs.io/en/stable/messaging.html#custom-messages). */
class Comm {
  onMessage: Listener = () => {};
  onClose: Listener = () => {};

  constructor(
    readonly target: string,
    readonly id: string = randomUUID(),
  ) {
    open.set(this.id, this);
  }

  tell(kind: 'comm_open' | 'comm_msg' | 'comm_close', data: Data, buffers: Uint8Array[] = [], metadata: Data = {}): void {
    const content = { comm_id: this.id, data, ...(kind === 'comm_open' && { target_name: this.target }) };
    try {
      if (typeof data !== 'object' || data === null) throw new TypeError(`its data must be an object, not ${textOf(data)}`);
      emit({ type: 'comm', kind, content, metadata, buffers: buffers.map(toBytes) });
    } catch (error) {
      throw new DisplayError(`What the comm ${this.target} was given`, error);
    }
  }

  send(data: Data = {}, buffers?: Uint8Array[], metadata?: Data): void {
    this.tell('comm_msg', data, buffers, metadata);
  }

  close(data: Data = {}): void {
    open.delete(this.id);
    this.tell('comm_close', data);
  }
}

const open = new Map<string, Comm>();
const targets = new Map<string, (comm: Comm, data: Data) => void>();

/** What libraries get under Symbol.for('tunebook.comms'). */
export function openComms() {
  return {
    /** Opens a comm to a target of the front end. */
    open(target: string, data: Data = {}, buffers: Uint8Array[] = [], metadata: Data = {}): Comm {
      const comm = new Comm(target);
      comm.tell('comm_open', data, buffers, metadata);
      return comm;
    },
    /** Names what takes the comms that front ends open. */
    register(target: string, take: (comm: Comm, data: Data) => void): void {
      targets.set(target, take);
    },
  };
}

export function receiveComm({ kind, content, metadata, buffers }: Extract<ToWorker, { type: 'comm' }>): void {
  const { comm_id: id, data = {}, target_name: target } = content as { comm_id: string; data?: Data; target_name?: string };
  if (kind === 'comm_open') {
    const comm = new Comm(String(target), id);
    const take = targets.get(comm.target);
    if (take) take(comm, data);
    else comm.close();
    return;
  }
  const comm = open.get(id);
  if (kind === 'comm_close') open.delete(id);
  if (kind === 'comm_msg') comm?.onMessage(data, buffers, metadata);
  else comm?.onClose(data, buffers, metadata);
}
