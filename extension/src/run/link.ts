import type { ISessionContext } from '@jupyterlab/apputils';
import type { Kernel, KernelMessage } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';
import { type Action, type Live, RUN_COMM } from '@tunebook/views';

/** For the first answer, in milliseconds. */
const PATIENCE = 8000;
/** So long without a word, the kernel is asked whether it is there; and so long, whether it is another one. */
const SILENCE = 10_000;
const LOST = 40_000;

/** The way from a view to the kernel that trains its run. It says when there is none, and why. */
export class Link {
  readonly changed = new Signal<this, void>(this);
  readonly received = new Signal<this, Live>(this);
  live = false;
  /** Why nothing can be asked of the run; empty while it is live. */
  reason: string;
  private comm: Kernel.IComm | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly watch: ReturnType<typeof setInterval>;
  private heardAt = 0;

  constructor(
    private readonly session: ISessionContext,
    private readonly run: string,
    private readonly trans: TranslationBundle,
  ) {
    this.reason = trans.__('Connecting to the kernel.');
    session.kernelChanged.connect(this.connect, this);
    session.statusChanged.connect(this.onStatus, this);
    session.connectionStatusChanged.connect(this.onConnection, this);
    void session.ready.then(() => this.connect());
    // A restart from another tab is told to nobody here.
    this.watch = setInterval(() => this.check(), SILENCE / 2);
  }

  /** Sends what the user asks for; the answer comes by `received`. */
  ask(action: Action, value?: number | string): void {
    this.comm?.send({ action, ...(value !== undefined && { value }) });
  }

  dispose(): void {
    Signal.clearData(this);
    clearTimeout(this.timer);
    clearInterval(this.watch);
    if (this.comm && !this.comm.isDisposed) this.comm.close();
    this.comm = undefined;
  }

  private check(): void {
    if (!this.live) return;
    const silent = Date.now() - this.heardAt;
    if (silent > LOST) this.connect();
    else if (silent > SILENCE) this.comm?.send({ action: 'ping' });
  }

  private connect(): void {
    const kernel = this.session.session?.kernel;
    this.comm = undefined;
    if (!kernel) {
      this.set(false, this.trans.__('No kernel is running.'));
      return;
    }
    if (!kernel.handleComms) {
      this.set(false, this.trans.__('Another view of this kernel has its comms: use that one.'));
      return;
    }
    const comm = kernel.createComm(RUN_COMM);
    this.comm = comm;
    const end = (text: string) => {
      if (this.comm !== comm) return;
      this.comm = undefined;
      this.set(false, text);
    };
    comm.onMsg = (message: KernelMessage.ICommMsgMsg) => {
      if (this.comm !== comm) return;
      clearTimeout(this.timer);
      this.heardAt = Date.now();
      if (!this.live) this.set(true, '');
      this.received.emit(message.content.data as unknown as Live);
    };
    comm.onClose = (message) => {
      clearTimeout(this.timer);
      const { text } = message.content.data as { text?: unknown };
      end(typeof text === 'string' ? text.slice(0, 300) : this.trans.__('This kernel does not know the run.'));
    };
    clearTimeout(this.timer);
    this.timer = setTimeout(() => end(this.trans.__('The kernel does not answer: it may not be the one that trained this run.')), PATIENCE);
    comm.open({ run: this.run });
  }

  private onStatus(_: ISessionContext, status: string): void {
    if (['restarting', 'autorestarting', 'dead', 'terminating'].includes(status))
      this.set(false, this.trans.__('The kernel was restarted or has ended.'));
    else if (status === 'starting') this.connect();
  }

  private onConnection(_: ISessionContext, status: string): void {
    if (status === 'connected' && !this.live) this.connect();
    if (status === 'disconnected') this.set(false, this.trans.__('The connection to the kernel is lost.'));
  }

  private set(live: boolean, reason: string): void {
    this.live = live;
    this.reason = reason;
    this.changed.emit();
  }
}
