import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { Message } from '@lumino/messaging';
import { Panel, Widget } from '@lumino/widgets';
import { parseRun, RUN_MIME } from '@tunebook/views';
import type { Context } from '../context';
import { element, freshId } from '../dom';
import { icon } from '../start/icon';
import { runOutputs } from './known';
import type { RunEntry, RunStore } from './store';
import { RunView } from './view';

/** Reads the runs that a notebook's outputs hold, also of cells that were never scrolled to. */
export function collect(notebook: NotebookPanel, store: RunStore): RunStore {
  for (const data of runOutputs(notebook)) {
    const run = parseRun(data[RUN_MIME]);
    if (typeof run !== 'string') store.take(run);
  }
  return store;
}

/** Follows the runs of the notebook that is in front: the latest, or the one chosen. */
export class RunsPanel extends Panel {
  private readonly choice: HTMLSelectElement;
  private readonly empty = element('p', { className: 'tunebook-age' });
  private store: RunStore | undefined;
  private view: { entry: RunEntry; widget: RunView } | undefined;
  /** The id of a run; empty: the latest. */
  private wanted = '';

  constructor(
    private readonly notebooks: INotebookTracker,
    private readonly storeOf: (notebook: NotebookPanel) => RunStore | undefined,
    private readonly context: Context,
  ) {
    super();
    const { trans } = context;
    this.id = 'tunebook-runs';
    this.addClass('tunebook-runs');
    this.title.label = trans.__('Runs');
    this.title.icon = icon;
    this.title.caption = trans.__('Training runs of this notebook');
    const id = freshId();
    this.choice = element('select', { id });
    this.choice.onchange = () => {
      this.wanted = this.choice.value;
      this.refresh();
    };
    const label = element('label', { for: id, textContent: trans.__('Run') });
    this.addWidget(new Widget({ node: element('div', { className: 'tunebook-runs-head' }, label, this.choice, this.empty) }));
    notebooks.currentChanged.connect(this.follow, this);
  }

  /** The run that commands act on: the one shown, or the latest of the notebook in front. Asked often, so it reads no outputs. */
  latest(): RunEntry | undefined {
    const notebook = this.notebooks.currentWidget;
    const store = notebook ? this.storeOf(notebook) : undefined;
    return store && store === this.store && this.view ? this.view.entry : store?.all()[0];
  }

  protected override onAfterShow(_: Message): void {
    this.follow();
  }

  private follow(): void {
    const notebook = this.notebooks.currentWidget;
    const store = notebook ? this.storeOf(notebook) : undefined;
    if (store !== this.store) {
      this.store?.changed.disconnect(this.refresh, this);
      this.store = store;
      this.wanted = '';
      store?.changed.connect(this.refresh, this);
    }
    if (notebook && store) void notebook.context.ready.then(() => collect(notebook, store));
    this.refresh();
  }

  private refresh(): void {
    const { trans } = this.context;
    const runs = this.store?.all() ?? [];
    const options = runs.map(({ data }) => [data.id, `${data.name} · ${data.status} · ${data.step}/${data.totalSteps}`]);
    const list = [['', trans.__('the latest')], ...options];
    if (list.map(([, text]) => text).join('\n') !== [...this.choice.options].map((o) => o.text).join('\n')) {
      this.choice.replaceChildren(...list.map(([value, text]) => element('option', { value, textContent: text })));
      this.choice.value = this.wanted;
    }
    const entry = runs.find(({ data }) => data.id === this.wanted) ?? runs[0];
    this.empty.textContent = entry ? '' : trans.__('No run in this notebook yet. It appears here when trainer.train() begins.');
    if (entry === this.view?.entry) return;
    this.view?.widget.dispose();
    this.view = undefined;
    if (!entry || !this.store) return;
    this.view = { entry, widget: new RunView(entry, this.store, this.context) };
    this.addWidget(this.view.widget);
  }
}
