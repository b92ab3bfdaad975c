import type { TranslationBundle } from '@jupyterlab/translation';
import type { Action } from '@tunebook/views';
import { button, element, freshId } from '../dom';
import type { RunEntry } from './store';

/** Buttons that ask something of a run while it trains. Where they cannot act, they say why. */
export class Controls {
  readonly node: HTMLElement;
  private readonly said: HTMLElement;
  private readonly buttons: HTMLButtonElement[];
  private readonly pause: HTMLButtonElement;
  private readonly rate: HTMLInputElement;

  constructor(
    private readonly entry: RunEntry,
    private readonly trans: TranslationBundle,
  ) {
    const ask = (action: Action) => () => entry.ask(action);
    this.pause = button('', '', () => entry.ask(entry.data.status === 'paused' ? 'resume' : 'pause'));
    const id = freshId();
    this.rate = element('input', { type: 'text', inputMode: 'decimal', size: 8, id, autocomplete: 'off', spellcheck: false });
    const set = button(trans.__('Set'), trans.__('Set the learning rate from the next step on; the schedule goes on from there'), () =>
      this.setRate(),
    );
    this.rate.onkeydown = (event) => {
      event.stopPropagation();
      if (event.key === 'Enter') this.setRate();
    };
    this.buttons = [
      this.pause,
      button(trans.__('Stop and save'), trans.__('End after this step and save a checkpoint; it can be resumed'), ask('stop')),
      button(trans.__('Sample now'), trans.__('Let the model answer the sample prompts as it is now'), ask('sample')),
      button(trans.__('Evaluate now'), trans.__('Compute the loss on the evaluation rows'), ask('evaluate')),
      set,
    ];
    this.said = element('span', { role: 'status', className: 'tunebook-said' });
    this.node = element(
      'div',
      { className: 'tunebook-controls', role: 'toolbar', 'aria-label': trans.__('Control of the training') },
      ...this.buttons.slice(0, 4),
      element('label', { for: id, textContent: trans.__('Learning rate') }),
      this.rate,
      set,
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
    this.rate.disabled = Boolean(why);
    const text = entry.over ? entry.said || why : why || entry.said;
    if (this.said.textContent !== text) this.said.textContent = text;
    if (document.activeElement !== this.rate && !this.rate.value) {
      const rate = entry.data.config.learning_rate;
      if (typeof rate === 'number') this.rate.value = String(rate);
    }
  }

  private setRate(): void {
    const value = Number(this.rate.value.trim() || Number.NaN);
    if (Number.isFinite(value) && value >= 0) this.entry.ask('learning_rate', value);
    else this.said.textContent = this.trans.__('The learning rate must be a number such as 2e-4.');
  }
}
