import {
  errorSpec,
  figure,
  levelsSpec,
  type QuantizationData,
  type QuantizedModule,
  quantizationRows,
  quantizationSummary,
  worstOf,
} from '@tunebook/views';
import { Place } from '../charts/place';
import { ChartView } from '../charts/view';
import type { Context } from '../context';
import { element, freshId, table, tabs } from '../dom';
import { themeNow } from '../theme';

/** The error of every layer, the levels over the values of a chosen one, and all figures as a table. */
export class QuantizationView extends ChartView {
  private readonly errors = new Place();
  private readonly levels = new Place();
  private readonly choice: HTMLSelectElement;
  private readonly about = element('p');
  private readonly layers: HTMLElement;
  private readonly figures: HTMLElement;
  private selected: QuantizedModule | undefined;
  private page: HTMLElement | undefined;

  constructor(
    private readonly data: QuantizationData,
    context: Context,
  ) {
    super(context);
    const { trans } = context;
    this.selected = worstOf(data);
    const id = freshId();
    this.choice = element('select', { id }, ...data.modules.map(({ name }) => element('option', { value: name, textContent: name })));
    this.choice.onchange = () => this.select(this.choice.value);
    const summary = () => table(quantizationSummary(data), { caption: trans.__('What packing changes') });
    this.layers = element(
      'div',
      { tabIndex: 0 },
      summary(),
      element('p', {
        textContent: trans.__('How much packing changes each matrix, layer by layer. Choose a cell, or a module below, to see its values.'),
      }),
      this.errors.node,
      element('p', {}, element('label', { for: id, textContent: trans.__('Module') }), ' ', this.choice),
      this.about,
      this.levels.node,
    );
    this.figures = element(
      'div',
      { tabIndex: 0 },
      summary(),
      table(quantizationRows(data).slice(0, 1000), {
        caption: trans.__('Modules'),
        heads: [trans.__('module'), trans.__('shape'), '|W - Q| / |W|', trans.__('largest change')],
      }),
    );
    const bar = tabs(
      [
        [trans.__('Layers'), this.layers],
        [trans.__('Figures'), this.figures],
      ],
      trans.__('Views of the quantisation'),
      (panel) => {
        this.page = panel;
        this.redraw();
      },
    );
    const notes = data.notes.map((note) => element('p', { className: 'tunebook-age', textContent: note }));
    this.node.append(
      element('p', { className: 'tunebook-heading', textContent: trans.__('Quantisation of %1', data.name) }),
      ...notes,
      element('div', { className: 'tunebook-bar' }, bar),
      element('div', { className: 'tunebook-pages' }, this.layers, this.figures),
    );
  }

  private select(name: string): void {
    this.selected = this.data.modules.find((m) => m.name === name) ?? this.selected;
    this.redraw();
  }

  protected override async draw(width: number): Promise<void> {
    const { data, selected } = this;
    if (this.page !== this.layers || !selected) return;
    const { trans } = this.context;
    this.choice.value = selected.name;
    this.about.textContent = trans.__(
      'Packing changes %1 by %2 % of its norm, no value by more than %3. Lines are the levels that its values are rounded to.',
      selected.name,
      figure(100 * selected.error),
      figure(selected.largest),
    );
    const more = trans.__('The table under “Figures” has the values.');
    await this.errors.draw(
      `${trans.__('What packing changes in each module')}. ${more}`,
      errorSpec(data, themeNow(), { selected: selected.name, width }),
      (datum) => {
        if (typeof datum.module === 'string') this.select(datum.module);
      },
    );
    await this.levels.draw(
      trans.__('Values of %1 and the %2 levels over them', selected.name, data.levels.length),
      levelsSpec(selected, data.levels, themeNow(), width),
    );
  }

  protected override get places(): ChartView['places'] {
    return [this.errors, this.levels];
  }
}
