import type { TranslationBundle } from '@jupyterlab/translation';
import type { Action } from '@tunebook/views';
import { button, element } from '../dom';
import { RateField } from './rate';
import type { RunEntry } from './store';

/** Buttons that ask something of a run while it trains. Where they cannot act, they say why. */
export class Controls {
  readonly node: HTMLElement;
  private readonly said: HTMLElement;
  private readonly buttons: HTMLButtonElement[];
  private readonly pause: HTMLButtonElement;
  private readonly rate: RateField;

  constructor(
    private readonly entry: RunEntry,
    private readonly trans: TranslationBundle,
  ) {
    const ask = (action: Action) => () => entry.ask(action);
    this.pause = button('', '', () => entry.ask(entry.data.status === 'paused' ? 'resume' : 'pause'));
    this.said = element('span', { role: 'status', className: 'tunebook-said' });
    this.rate = new RateField(entry, trans);
    this.buttons = [
      this.pause,
      button(trans.__('Stop and save'), trans.__('End after this step and save a checkpoint; it can be resumed'), ask('stop')),
      button(trans.__('Sample now'), trans.__('Let the model answer the sample prompts as it is now'), ask('sample')),
      button(trans.__('Evaluate now'), trans.__('Compute the loss on the evaluation rows'), ask('evaluate')),
    ];
    this.node = element(
      'div',
      { className: 'tunebook-controls', role: 'toolbar', 'aria-label': trans.__('Control of the training') },
      ...this.buttons,
      element('span', { className: 'tunebook-rate' }, ...this.rate.nodes),
      this.said,
    );
    this.update();
  }

  update(): void {
    const { entry, trans } = this;
    const why = entry.idleReason;
    const paused = entry.data.status === 'paused';
    this.pause.textContent = paused ? trans.__('Resume') : trans.__('Pause');
    this.pause.title = paused ? trans.__('Go on training') : trans.__('Halt after this step; the model can be used meanwhile');
    for (const button of this.buttons) button.disabled = Boolean(why);
    this.rate.update(Boolean(why));
    const { doing } = entry.data;
    const said = doing && !entry.over ? `${doing} …` : entry.said;
    const text = entry.over ? said || why : why || said;
    if (this.said.textContent !== text) this.said.textContent = text;
  }
}
