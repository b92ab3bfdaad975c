import {
  type AdapterData,
  type AdapterModule,
  adapterCsv,
  adapterSummary,
  condition,
  effectiveRank,
  figure,
  heatmapSpec,
  isDense,
  normName,
  placeOf,
  shapeOf,
  sizeOf,
  spectrumSpec,
  stableRank,
  usedRank,
} from '@tunebook/views';
import { Place } from '../charts/place';
import { ChartView } from '../charts/view';
import type { Context } from '../context';
import { button, download, element, fileName, freshId, table, tabs } from '../dom';
import { background, themeNow } from '../theme';
import { blockDrawing } from './block';
import { ExpertPage } from './expert';

/** An adapter: a page for learners, one for experts, and all figures as a table. */
export class AdapterView extends ChartView {
  private readonly heatmap = new Place();
  private readonly spectrum = new Place();
  private readonly choice: HTMLSelectElement;
  private readonly about = element('p');
  /** The chosen module, on the page that is open. */
  private readonly detail = element('div');
  private readonly learner: HTMLElement;
  private readonly expert: ExpertPage;
  private readonly figures = element('div', { tabIndex: 0 });
  private readonly dense: AdapterModule[];
  private selected: AdapterModule | undefined;
  private page: HTMLElement | undefined;

  constructor(
    private readonly data: AdapterData,
    context: Context,
  ) {
    super(context);
    const { trans } = context;
    this.dense = data.modules.filter(isDense);
    const shown = this.dense.length ? this.dense : data.modules;
    this.selected = shown.reduce<AdapterModule | undefined>((best, m) => (!best || sizeOf(m) > sizeOf(best) ? m : best), undefined);
    const id = freshId();
    const options = data.modules.map(({ name }) => element('option', { value: name, textContent: name }));
    this.choice = element('select', { id }, ...options);
    this.choice.onchange = () => this.select(this.choice.value);
    const chooser = element('p', {}, element('label', { for: id, textContent: trans.__('Module') }), ' ', this.choice);
    this.detail.append(chooser, this.about, this.spectrum.node);
    const notes = data.notes.map((note) => element('p', { className: 'tunebook-age', textContent: note }));
    const summary = () => table(adapterSummary(data), { caption: trans.__('What the adapter adds') });
    this.learner = element(
      'div',
      { tabIndex: 0 },
      summary(),
      this.dense.length > 0 && blockDrawing(data, trans),
      element('p', {
        textContent: this.dense.length
          ? trans.__(
              'How much each module changes, layer by layer. Choose a cell, or a module below, to see the directions that its update uses.',
            )
          : trans.__('How large what is trained is, layer by layer. Choose a cell, or a tensor below.'),
      }),
      this.heatmap.node,
    );
    this.expert = new ExpertPage(data, trans);
    const bar = tabs(
      [
        [trans.__('For learners'), this.learner],
        [trans.__('For experts'), this.expert.node],
        [trans.__('Figures'), this.figures],
      ],
      trans.__('Views of the adapter'),
      (panel) => {
        this.page = panel;
        this.redraw();
      },
    );
    const tools = element(
      'div',
      { className: 'tunebook-tools' },
      button(trans.__('PNG'), trans.__('Save the heatmap as a picture'), () => this.savePicture()),
      button(trans.__('CSV'), trans.__('Save all figures as a table'), () =>
        download(`${fileName(data.name)}.csv`, new Blob([adapterCsv(data)], { type: 'text/csv' })),
      ),
    );
    this.node.append(
      element('p', { className: 'tunebook-heading', textContent: trans.__('Adapter %1', data.name) }),
      ...notes,
      element('div', { className: 'tunebook-bar' }, bar, tools),
      element('div', { className: 'tunebook-pages' }, this.learner, this.expert.node, this.figures),
    );
  }

  private select(name: string): void {
    this.selected = this.data.modules.find((m) => m.name === name) ?? this.selected;
    this.redraw();
  }

  protected override async draw(width: number): Promise<void> {
    if (this.page === this.figures) this.drawFigures();
    else if (this.page === this.learner) {
      await this.drawHeatmap(width);
      await this.showSelected(this.learner);
    } else {
      await this.showSelected(this.expert.node);
      await this.expert.draw(this.selected, themeNow(), width);
    }
  }

  private async drawHeatmap(width: number): Promise<void> {
    const { data, selected } = this;
    const { trans } = this.context;
    const label = data.modules.every(({ weight }) => weight)
      ? trans.__('Size of each module’s update against its weight')
      : this.dense.length
        ? trans.__('Size of each module’s update')
        : trans.__('Norm of each tensor that is trained');
    await this.heatmap.draw(
      `${label}. ${trans.__('The table under “Figures” has the values.')}`,
      heatmapSpec(data, themeNow(), { selected: selected?.name, width }),
      ({ module }) => {
        if (typeof module === 'string') this.select(module);
      },
    );
  }

  /** The chosen module, on the page that is open: what it changes, and its spectrum. */
  private async showSelected(page: HTMLElement): Promise<void> {
    const { selected: m } = this;
    if (!m) return;
    if (this.detail.parentElement !== page) page.insertBefore(this.detail, page === this.expert.node ? page.firstChild : null);
    this.choice.value = m.name;
    const { trans } = this.context;
    const { singular: s } = m;
    const size = m.weight
      ? trans.__('changes its weight by %1 %', figure((100 * m.delta) / m.weight))
      : trans.__('has an update of norm %1', figure(m.delta));
    this.about.textContent = s.length
      ? trans.__(
          '%1 %2 and uses %3 of its %4 directions (stable rank %5, effective rank %6).',
          m.name,
          size,
          usedRank(s),
          m.rank,
          figure(stableRank(s)),
          figure(effectiveRank(s)),
        )
      : trans.__('%1: %2, norm %3; no dense update of a weight.', m.name, shapeOf(m), figure(m.delta));
    this.spectrum.node.hidden = !s.length;
    if (s.length)
      await this.spectrum.draw(
        trans.__('Singular values and cumulative energy of %1', m.name),
        spectrumSpec([m], themeNow(), this.width()),
      );
  }

  private drawFigures(): void {
    if (this.figures.childElementCount) return;
    const { data } = this;
    const { trans } = this.context;
    const rows = data.modules.slice(0, 1000).map((m) => {
      const { layer } = placeOf(m.name);
      const used = m.singular.length ? `${usedRank(m.singular)} / ${m.rank}` : '-';
      const ranks = [stableRank(m.singular), effectiveRank(m.singular), condition(m.singular)].map((v) =>
        m.singular.length ? figure(v) : '-',
      );
      const share = m.weight ? `${figure((100 * m.delta) / m.weight)} %` : '-';
      return [m.name, layer < 0 ? '-' : String(layer), `${m.outFeatures} x ${m.inFeatures}`, figure(m.delta), share, used, ...ranks];
    });
    const heads = [
      trans.__('module'),
      trans.__('layer'),
      trans.__('shape'),
      normName(data.modules),
      '|dW| / |W|',
      trans.__('uses'),
      trans.__('stable rank'),
      trans.__('effective rank'),
      trans.__('condition'),
    ];
    this.figures.append(
      table(adapterSummary(data), { caption: trans.__('Summary') }),
      table(rows, { caption: trans.__('Modules'), heads }),
    );
    if (data.history.length) {
      const growth = data.history.map(({ step, deltas, effectiveRanks }) => {
        const mean = (values: number[]) => figure(values.reduce((a, b) => a + b, 0) / Math.max(1, values.length));
        return [String(step), mean(deltas), mean(effectiveRanks)];
      });
      this.figures.append(
        table(growth, {
          caption: trans.__('Means over all modules at each checkpoint'),
          heads: [trans.__('step'), normName(data.modules), trans.__('effective rank')],
        }),
      );
    }
  }

  private async savePicture(): Promise<void> {
    await this.drawHeatmap(this.width()); // it is as it was when its page was seen last
    const picture = await this.heatmap.png();
    if (picture) download(`${fileName(this.data.name)}.png`, await onBackground(picture));
  }

  protected override get places(): ChartView['places'] {
    return [this.heatmap, this.spectrum, this.expert];
  }
}

/** A transparent picture as it looks on the page. */
async function onBackground(picture: Blob): Promise<Blob> {
  const image = await createImageBitmap(picture);
  const canvas = element('canvas', { width: image.width, height: image.height });
  const draw = canvas.getContext('2d');
  if (!draw) return picture;
  draw.fillStyle = background();
  draw.fillRect(0, 0, image.width, image.height);
  draw.drawImage(image, 0, 0);
  return new Promise((resolve) => canvas.toBlob((blob) => resolve(blob ?? picture)));
}
