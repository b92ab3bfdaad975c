import type { ISessionContext } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';
import { type Live, parseRun, type RunData, withDelta } from '@tunebook/views';
import { Link } from './link';

const LINGER = 5000;
const isOpen = ({ status }: RunData) => status === 'running' || status === 'paused';

/** A run as all its views in one notebook share it. */
export class RunEntry {
  readonly changed = new Signal<this, void>(this);
  /** The last thing the kernel said to something that was asked: for a status line. */
  said = '';
  private link: Link | undefined;

  constructor(
    public data: RunData,
    private readonly session: ISessionContext | undefined,
    private readonly trans: TranslationBundle,
  ) {
    this.follow();
  }

  get over(): boolean {
    return !isOpen(this.data);
  }

  /** Why nothing can be asked of the run; empty: it can. */
  get idleReason(): string {
    if (this.over) return this.trans.__('Training is over.');
    return this.link?.live ? '' : (this.link?.reason ?? this.trans.__('There is no kernel behind this view.'));
  }

  /** Whether what is shown is what there is now. */
  get current(): boolean {
    return this.over || (this.link?.live ?? false);
  }

  /** Takes what the notebook's output holds, unless something newer is here. */
  take(data: RunData): void {
    if (data.updatedAt < this.data.updatedAt) return;
    // What is followed comes as news: those that an output was quicker with would be here twice.
    if (this.link?.live && isOpen(data)) return;
    this.set(data);
  }

  ask: Link['ask'] = (action, value) => this.link?.ask(action, value);

  dispose(): void {
    Signal.clearData(this);
    this.link?.dispose();
  }

  private set(data: RunData): void {
    if (!this.over && !isOpen(data)) this.said = '';
    this.data = data;
    this.follow();
    this.changed.emit();
  }

  /** Only a run that goes on is followed. */
  private follow(): void {
    if (!isOpen(this.data)) {
      // The answer to a stop comes after the end.
      const { link } = this;
      this.link = undefined;
      if (link) setTimeout(() => link.dispose(), LINGER);
    } else if (!this.link && this.session) {
      this.link = new Link(this.session, this.data.id, this.trans);
      this.link.changed.connect(() => this.changed.emit());
      this.link.received.connect((_, message) => this.receive(message));
    }
  }

  private receive(message: Live): void {
    switch (message.type) {
      case 'snapshot':
      case 'delta': {
        const data = message.type === 'snapshot' ? parseRun(message.run) : withDelta(this.data, message.delta);
        if (typeof data === 'string') this.say(data);
        else this.set(data);
        return;
      }
      case 'heard':
      case 'answer':
        this.say(String(message.text).slice(0, 1000));
    }
  }

  /** For the status line, until something else is said. */
  say(text: string): void {
    this.said = text;
    this.changed.emit();
  }
}

/** The runs of one notebook, by their ids. */
export class RunStore {
  /** A run came, or one's state changed. */
  readonly changed = new Signal<this, RunEntry>(this);
  private readonly runs = new Map<string, RunEntry>();
  /** The stores of the other notebooks that are open. */
  peers: () => RunStore[] = () => [];

  constructor(
    private readonly trans: TranslationBundle,
    readonly session?: ISessionContext,
    /** Path of the notebook on the server. */
    readonly path: () => string | undefined = () => undefined,
  ) {}

  take(data: RunData): RunEntry {
    const known = this.runs.get(data.id);
    if (known) {
      known.take(data);
      return known;
    }
    const entry = new RunEntry(data, this.session, this.trans);
    this.runs.set(data.id, entry);
    entry.changed.connect(() => this.changed.emit(entry));
    this.changed.emit(entry);
    return entry;
  }

  /** All runs, the latest first. */
  all(): RunEntry[] {
    return [...this.runs.values()].sort((a, b) => (a.data.startedAt < b.data.startedAt ? 1 : -1));
  }

  /** The others, the one before it first. */
  others({ data: { id, startedAt } }: RunEntry): RunEntry[] {
    const rest = this.all().filter((entry) => entry.data.id !== id);
    const before = (entry: RunEntry) => entry.data.startedAt <= startedAt;
    return [...rest.filter(before), ...rest.filter((entry) => !before(entry))];
  }

  /** The runs of other notebooks, each with that notebook's path. */
  elsewhere(): { entry: RunEntry; where: string }[] {
    return this.peers().flatMap((store) =>
      store.all().flatMap((entry) => (this.runs.has(entry.data.id) ? [] : [{ entry, where: store.path() ?? '' }])),
    );
  }

  dispose(): void {
    for (const entry of this.runs.values()) entry.dispose();
    Signal.clearData(this);
  }
}
