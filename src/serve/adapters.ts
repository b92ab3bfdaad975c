import { OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { show } from '../core/options';
import { BASE_ADAPTER } from '../generate/row_adapters';
import type { CausalLM } from '../models/causal_lm';
import { serving, worn } from '../peft/hold';
import { PeftModel } from '../peft/model';
import type { Loaded } from './batch';
import { Busy, NoSuchAdapter } from './faults';

interface Served {
  /** What the model knows it by. */
  inner: string;
  /** Where it came from; undefined where it was on the model already. */
  path?: string;
  created: number;
  /** Requests that it answers now, and whether it is to go when there are none. */
  uses: number;
  gone: boolean;
}

/** Adapters of servers are told from their owner's by these names. */
let serial = 0;
const OURS = /^served-\d+$/;

const now = () => Math.floor(Date.now() / 1000);

/** The adapters that requests may name. They come and go while others answer: one that is unloaded stays until what it answers is written. */
export class Adapters implements Loaded {
  private readonly all = new Map<string, Served>();
  private readonly leaving = new Set<Served>();
  private peft?: PeftModel<CausalLM>;
  private changing: Promise<unknown> = Promise.resolve();
  private closed = false;
  private readonly release: () => void;
  version = 0;

  /** `model`: what is served, or an adapter around it, whose adapters are served by their names. */
  constructor(
    readonly model: CausalLM,
    private readonly most: number,
  ) {
    this.peft = this.wearer;
    if (this.peft?.isMerged) throw new OptionError('serve: an adapter is merged into the weights. Call unmerge_adapter() first.');
    this.release = serving(model);
    this.putOwn();
  }

  private get wearer(): PeftModel<CausalLM> | undefined {
    const wearer = worn.get(this.model);
    return wearer instanceof PeftModel ? wearer : undefined;
  }

  /** Those that its owner has put on the model are served by their names. */
  private putOwn(): void {
    for (const inner of Object.keys(this.peft?.peft_config ?? {}))
      if (!OURS.test(inner) && !this.all.has(inner)) this.put(inner, { inner });
  }

  private put(name: string, { inner, path }: { inner: string; path?: string }): void {
    this.all.set(name, { inner, path, created: now(), uses: 0, gone: false });
  }

  /** What decoding may go through. */
  get names(): string[] {
    const there = this.peft?.peft_config ?? {};
    const inner = [...this.all.values(), ...this.leaving].map((served) => served.inner);
    return [BASE_ADAPTER, ...inner.filter((name) => Object.hasOwn(there, name))];
  }

  /** Its owner's may be gone; the server's are put back where they are (`ready`). */
  private isThere({ inner, path }: Served): boolean {
    return path !== undefined || Object.hasOwn(this.wearer?.peft_config ?? {}, inner);
  }

  get list(): { name: string; path?: string; created: number }[] {
    const there = [...this.all].filter(([, served]) => this.isThere(served));
    return there.map(([name, { path, created }]) => ({ name, path, created }));
  }

  has(name: string): boolean {
    const served = this.all.get(name);
    return served !== undefined && this.isThere(served);
  }

  /** Holds an adapter (undefined: none) for a request; `release` is called when that is answered. */
  use(name: string | undefined): { adapter: string; release(): void } {
    if (name === undefined) return { adapter: BASE_ADAPTER, release: () => {} };
    const served = this.all.get(name) as Served;
    served.uses++;
    let held = true;
    const release = () => {
      if (!held) return;
      held = false;
      if (--served.uses === 0 && served.gone) this.free(served);
    };
    return { adapter: served.inner, release };
  }

  /** Runs f with an adapter that is held in the place of the active ones. */
  wearing<T>(adapter: string, f: () => T): T {
    const { wearer } = this;
    if (adapter === BASE_ADAPTER) return wearer ? wearer.wearing([], f) : f();
    if (!wearer || !Object.hasOwn(wearer.peft_config, adapter))
      throw new NoSuchAdapter('The adapter that was asked for has been taken off the model.');
    return wearer.wearing([adapter], f);
  }

  /** Loads one by path or name on the Hub; one after another. */
  load(name: string, path: string, inplace = false): Promise<void> {
    const loaded = this.changing.then(() => this.restore()).then(() => this.loadNow(name, path, inplace));
    this.changing = loaded.catch(() => {});
    return loaded;
  }

  /**
   * Its owner may have given the model other adapters meanwhile, which took the place of the server's: these are put beside them again. Awaited
   * before an adapter is used.
   */
  async ready(): Promise<void> {
    await this.changing;
    if (this.wearer === this.peft) return;
    const restored = this.changing.then(() => this.restore());
    this.changing = restored.catch(() => {});
    await restored;
  }

  private async restore(): Promise<void> {
    if (this.wearer === this.peft) return;
    this.peft = this.wearer;
    for (const [name, { path }] of this.all) if (path === undefined) this.all.delete(name);
    this.leaving.clear();
    this.putOwn();
    // Decodings that began with those of before are no more to be gone on with, whatever becomes of these.
    this.version++;
    for (const [name, { inner, path }] of this.all) {
      if (path === undefined) continue;
      await this.attach(inner, path).catch((error: Error) => {
        this.all.delete(name);
        warnOnce(`serve: the adapter ${show(name)} could not be put back beside its owner's, and is served no more: ${error.message}`);
      });
      this.version++;
    }
  }

  /** Puts a saved one beside what the model wears; what is active stays. */
  private async attach(inner: string, path: string): Promise<void> {
    if (this.peft) return this.peft.load_adapter(path, inner);
    this.peft = await PeftModel.beside(this.model, path, inner);
  }

  private async loadNow(name: string, path: string, inplace: boolean): Promise<void> {
    if (this.closed) throw new Busy('The server is closing.');
    if (this.has(name) && !inplace) throw new OptionError(`The adapter ${show(name)} is loaded already; unload it first.`);
    const adapters = this.list.length + this.leaving.size - (this.has(name) ? 1 : 0);
    if (adapters >= this.most) throw new OptionError(`There are ${adapters} adapters already, as many as may be (max_loras). Unload one.`);
    const inner = `served-${++serial}`;
    await this.attach(inner, path);
    if (this.all.has(name)) this.unload(name);
    this.put(name, { inner, path });
    this.version++;
  }

  /** Takes one out of the names; it is freed as soon as it answers nothing more. */
  unload(name: string): void {
    const served = this.all.get(name);
    if (!served)
      throw new NoSuchAdapter(
        `There is no adapter ${show(name)}; there are ${this.list.map(({ name }) => show(name)).join(', ') || 'none'}.`,
      );
    this.all.delete(name);
    served.gone = true;
    this.leaving.add(served);
    if (!served.uses) this.free(served);
  }

  private free(served: Served): void {
    this.leaving.delete(served);
    // One that was there before the server is its owner's.
    if (served.path === undefined || !Object.hasOwn(this.peft?.peft_config ?? {}, served.inner)) return;
    try {
      this.peft?.delete_adapter(served.inner);
    } catch (error) {
      warnOnce(`serve: an adapter that was unloaded stays on the model: ${(error as Error).message}`);
    }
  }

  /** Leaves the model as it was, when what is being loaded is there. */
  async close(): Promise<void> {
    this.closed = true;
    await this.changing;
    for (const name of [...this.all.keys()]) this.unload(name);
    this.release();
  }
}
