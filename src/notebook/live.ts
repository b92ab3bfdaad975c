import { type Ask, type Known, type Live, RUN_COMM, runDelta, runPayload, type Told, toldAll } from '../../views';
import type { Handle } from '../train/handle';
import type { Moment, Run } from '../train/run';
import { runData } from './run_data';
import { Throttle } from './throttle';

interface Comm {
  onMessage: (data: never) => void;
  onClose: () => void;
  send(data: object): void;
  close(data?: object): void;
}

interface Comms {
  register(target: string, take: (comm: Comm, data: Record<string, unknown>) => void): void;
}

const comms = () => (globalThis as Record<symbol, unknown>)[Symbol.for('tunebook.comms')] as Comms | undefined;

type Dropper = () => () => void;
/** What drops the cells that wait behind the running one: after a stop, nothing is to go on by itself. */
const dropper = () => ((globalThis as Record<symbol, unknown>)[Symbol.for('tunebook.dropper')] as Dropper | undefined)?.();

/** At most 4 a second. */
const BETWEEN = 250;
const MOST_VIEWS = 16;

/** A run of this process and the views that follow it. */
class LiveRun {
  private readonly views = new Map<Comm, Told>();
  private readonly news = new Throttle(BETWEEN, () => this.tellViews());

  constructor(
    readonly run: Run,
    private readonly handle: Handle,
  ) {}

  update(what: Moment): void {
    if (!this.views.size) return;
    if (what === 'end') this.news.flush();
    else this.news.call();
  }

  follow(comm: Comm): void {
    const send = (message: Live) => comm.send(message);
    comm.onClose = () => this.views.delete(comm);
    comm.onMessage = ((asked: Ask) => {
      if (asked.action === 'ping') {
        send({ type: 'alive' });
        return;
      }
      const { action, value } = asked;
      send({ type: 'heard', action, text: this.run.status === 'paused' ? '' : 'Waiting for the step to end.' });
      const answer = (ok: boolean) => (said: unknown) =>
        send({ type: 'answer', action, ok, text: said instanceof Error ? said.message : String(said) });
      void this.handle.ask(action, value).then(answer(true), answer(false));
    }) as Comm['onMessage'];
    this.views.set(comm, toldAll(this.run));
    // A page that was closed does not say so: the oldest view makes room.
    if (this.views.size > MOST_VIEWS) this.views.delete(this.views.keys().next().value as Comm);
    send({ type: 'snapshot', run: runPayload(runData(this.run)) });
  }

  private tellViews(): void {
    const data = runData(this.run);
    for (const [comm, told] of this.views) {
      this.views.set(comm, toldAll(data));
      comm.send({ type: 'delta', delta: runDelta(data, told) } satisfies Live);
    }
  }
}

/** Lets views follow the runs of this process, and ask something of them. Without a kernel that has comms it does nothing. */
export class LiveRuns {
  private readonly runs = new Map<string, LiveRun>();
  /** Pages that hear of all runs. */
  private readonly pages = new Set<Comm>();
  private registered = false;

  update(run: Run, handle: Handle, what: Moment): void {
    if (!this.registered) {
      comms()?.register(RUN_COMM, (comm, data) => {
        const wanted = this.runs.get(String(data.run));
        if (data.run === undefined) this.tellAll(comm);
        else if (wanted) wanted.follow(comm);
        else comm.close({ text: 'The kernel does not know this run: it was restarted since.' });
      });
      this.registered = true;
    }
    // Where one run of several is stopped, the cell goes on.
    if (what === 'begin') handle.onStop = (run.sweep ? undefined : dropper()) ?? (() => {});
    let live = this.runs.get(run.id);
    if (!live) {
      live = new LiveRun(run, handle);
      this.runs.set(run.id, live);
    }
    live.update(what);
    if (what === 'begin' || what === 'end') for (const page of this.pages) page.send(known(run));
  }

  private tellAll(page: Comm): void {
    page.onClose = () => this.pages.delete(page);
    this.pages.add(page);
    if (this.pages.size > MOST_VIEWS) this.pages.delete(this.pages.values().next().value as Comm);
    for (const { run } of this.runs.values()) page.send(known(run));
  }
}

const known = (run: Run): Known => ({ type: 'known', run: runPayload(runData(run)) });
