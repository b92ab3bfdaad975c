import { InputDialog } from '@jupyterlab/apputils';
import { differingOptions, type RunData } from '@tunebook/views';
import type { Context } from '../context';
import { button, element, menu, table } from '../dom';
import type { RunEntry, RunStore } from './store';

const MOST = 50;

/** A run that can be drawn beside another. */
interface Other {
  data: RunData;
  label: string;
}

/** Which runs are drawn beside one: of its notebook, of other notebooks that are open, of saved folders; and by which options they differ. */
export class Compare {
  readonly menu: HTMLElement;
  readonly differences = element('div', { className: 'tunebook-differences' });
  private readonly choices = element('div', { className: 'tunebook-choices' });
  /** What was chosen, by the runs' ids; the one before it is drawn faintly unless it is taken out. */
  private readonly beside = new Map<string, boolean>();
  private readonly saved = new Map<string, RunData>();
  private listed = '';
  private told = '';
  private readonly note = element('p', { className: 'tunebook-age' });

  constructor(
    private readonly entry: RunEntry,
    private readonly store: RunStore,
    private readonly context: Context,
    private readonly changed: () => void,
  ) {
    const { trans } = context;
    const node = menu(trans.__('Compare'), 'tunebook-compare', this.choices);
    node.addEventListener('toggle', () => {
      if (node.open) void this.look();
    });
    this.menu = node;
  }

  /** The runs to draw; `ghost`: the one before, faintly. */
  chosen(): { ghost?: RunData; overlays: RunData[] } {
    const others = this.others();
    this.list(others);
    const chosen = others.filter((other, i) => this.isBeside(other, i)).map(({ data }) => data);
    const ghost = chosen.find(({ id }) => id === others[0]?.data.id && !this.beside.has(id));
    const overlays = chosen.filter((run) => run !== ghost);
    this.tell(overlays);
    return { ghost, overlays };
  }

  private others(): Other[] {
    const named = (data: RunData, where: string) => ({
      data,
      label: [data.name, data.startedAt && `(${data.startedAt.slice(0, 16).replace('T', ' ')})`, where].filter(Boolean).join(' '),
    });
    const mine = this.store.others(this.entry).map(({ data }) => named(data, ''));
    const elsewhere = this.store.elsewhere().map(({ entry, where }) => named(entry.data, `· ${where}`));
    const { trans } = this.context;
    const saved = [...this.saved.values()].map((data) => named(data, `· ${trans.__('saved')}`));
    return [...mine, ...elsewhere, ...saved].slice(0, MOST);
  }

  /** Whether another run is drawn beside this one: as its box says; before that, the one before it in its notebook. */
  private isBeside({ data: { id, startedAt } }: Other, place: number): boolean {
    const isBefore = place === 0 && startedAt !== '' && startedAt <= this.entry.data.startedAt;
    return this.beside.get(id) ?? (isBefore && this.context.settings.ghost && this.store.others(this.entry)[0]?.data.id === id);
  }

  /** Made anew only where the list has changed: somebody may be in it. */
  private list(others: readonly Other[]): void {
    const { trans } = this.context;
    const state = others.map(({ label }) => label).join('\n');
    if (this.choices.childNodes.length && state === this.listed) return;
    this.listed = state;
    const boxes = others.map((other, i) => {
      const box = element('input', { type: 'checkbox', checked: this.isBeside(other, i) });
      box.onchange = () => {
        this.beside.set(other.data.id, box.checked);
        this.changed();
      };
      return element('label', {}, box, other.label);
    });
    this.choices.replaceChildren(
      ...(boxes.length ? boxes : [element('span', { textContent: trans.__('There is no other run in the notebooks that are open.') })]),
      button(trans.__('Saved run …'), trans.__('Add a run from the folder that it was saved in'), () => this.addSaved()),
      this.note,
    );
  }

  /** Runs that are saved beside this one are offered too. */
  private async look(): Promise<void> {
    for (const run of await this.context.savedBeside(this.entry.data.folder, this.store.path()))
      if (run.folder !== this.entry.data.folder && !this.isOpen(run)) this.saved.set(run.id, run);
    this.list(this.others());
  }

  /** Whether a saved run is one of those that are listed anyhow. */
  private isOpen({ folder }: RunData): boolean {
    const ends = (one: string) => folder === one || folder.endsWith(`/${one}`);
    return this.store.all().some(({ data }) => ends(data.folder.replace(/^[./]+/, '')));
  }

  private async addSaved(): Promise<void> {
    const { trans } = this.context;
    const { value } = await InputDialog.getText({
      title: trans.__('Compare with a saved run'),
      label: trans.__('The folder that it was saved in, or one of its checkpoints, as the file browser names it'),
      placeholder: 'out/other-run',
    });
    if (!value) return;
    const run = await this.context.savedRun(value.replace(/^\/+|\/+$/g, ''));
    this.note.textContent = typeof run === 'string' ? run : '';
    if (typeof run === 'string') return;
    this.saved.set(run.id, run);
    this.beside.set(run.id, true);
    this.changed();
  }

  /** A table of the options by which the runs differ. */
  private tell(overlays: readonly RunData[]): void {
    const { trans } = this.context;
    const runs = [this.entry.data, ...overlays];
    const rows = overlays.length ? differingOptions(runs) : [];
    const state = JSON.stringify([overlays.map(({ id }) => id), rows]);
    if (state === this.told) return;
    this.told = state;
    this.differences.replaceChildren();
    if (!overlays.length) return;
    const heads = [trans.__('option'), ...runs.map(({ name }) => name)];
    this.differences.append(
      rows.length
        ? table(rows, { caption: trans.__('Options that differ'), heads })
        : element('p', { textContent: trans.__('These runs were made with the same options.') }),
    );
  }
}
