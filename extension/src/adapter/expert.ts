import type { TranslationBundle } from '@jupyterlab/translation';
import {
  type AdapterData,
  type AdapterModule,
  betweenSpec,
  type ChartTheme,
  conditionSpec,
  historySpec,
  isDense,
  layersSpec,
  overlapSpec,
  placeOf,
} from '@tunebook/views';
import { Place } from '../charts/place';
import { element } from '../dom';

/** For experts: spectra of all layers, how well updates are conditioned, what layers share, growth, what another adapter shares. */
export class ExpertPage {
  readonly node = element('div', { tabIndex: 0 });
  private readonly layers = new Place();
  private readonly between = new Place();
  private readonly condition = new Place();
  private readonly history = new Place();
  private readonly overlap = new Place();
  private readonly layersHead = element('h4');
  private readonly betweenHead = element('h4');

  constructor(
    private readonly data: AdapterData,
    private readonly trans: TranslationBundle,
  ) {
    const head = (textContent: string) => element('h4', { textContent });
    if (data.modules.some(isDense))
      this.node.append(
        ...[this.layersHead, this.layers.node, this.betweenHead, this.between.node],
        ...[head(trans.__('Condition: the largest singular value over the smallest')), this.condition.node],
      );
    if (data.history.length > 1) this.node.append(head(trans.__('Growth over checkpoints (mean over layers)')), this.history.node);
    if (data.overlap)
      this.node.append(head(trans.__('Shared with %1: 100 % where both use the same directions', data.overlap.other)), this.overlap.node);
  }

  /** Draws all, with the chosen module's kind where that matters. */
  async draw(selected: AdapterModule | undefined, theme: ChartTheme, width: number): Promise<void> {
    const { data, trans } = this;
    if (selected && data.modules.some(isDense)) {
      const { kind } = placeOf(selected.name);
      this.layersHead.textContent = trans.__('Singular values of %1 in every layer', kind);
      await this.layers.draw(this.layersHead.textContent, layersSpec(data.modules, kind, theme, width));
      const between = data.between?.find((one) => one.kind === kind);
      this.betweenHead.textContent = trans.__('Shared between layers: 100 % where %1 of both uses the same directions', kind);
      this.betweenHead.hidden = this.between.node.hidden = !between;
      if (between) await this.between.draw(this.betweenHead.textContent, betweenSpec(between, theme, width));
      await this.condition.draw(trans.__('Condition of each module’s update'), conditionSpec(data, theme, width));
    }
    if (data.history.length > 1)
      await this.history.draw(trans.__('Norm and effective rank of the update at each checkpoint'), historySpec(data, theme, width));
    if (data.overlap) await this.overlap.draw(trans.__('Shared directions, by layer and module'), overlapSpec(data, theme, width));
  }

  dispose(): void {
    for (const place of [this.layers, this.between, this.condition, this.history, this.overlap]) place.dispose();
  }
}
