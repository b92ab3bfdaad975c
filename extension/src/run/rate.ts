import { Dialog, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { figure } from '@tunebook/views';
import { button, element, freshId } from '../dom';
import type { RunEntry } from './store';

/** A rate so many times the present one is asked about: training falls apart at it more often than not. */
const ABSURD = 10;

/** The learning rate: its peak, which can be set and which the schedule's curve is multiplied with, and what the curve makes of it now. */
export class RateField {
  readonly nodes: HTMLElement[];
  private readonly field: HTMLInputElement;
  private readonly set: HTMLButtonElement;
  private readonly now = element('span', { className: 'tunebook-now' });
  /** The peak that the field shows, or showed before somebody wrote in it. */
  private known: number | undefined;

  constructor(
    private readonly entry: RunEntry,
    private readonly trans: TranslationBundle,
  ) {
    const id = freshId();
    const title = trans.__('What the schedule’s curve is multiplied with; “now” is the rate of the last step');
    this.field = element('input', { type: 'text', inputMode: 'decimal', size: 8, id, title, autocomplete: 'off', spellcheck: false });
    this.field.onkeydown = (event) => {
      if (event.key !== 'Enter') return;
      event.preventDefault(); // or it would press a button of the question as well
      void this.ask();
    };
    this.set = button(
      trans.__('Set'),
      trans.__('Set the peak of the learning rate from the next step on; the schedule goes on from there'),
      () => this.ask(),
    );
    this.nodes = [element('label', { for: id, textContent: trans.__('Peak learning rate') }), this.field, this.set, this.now];
  }

  update(idle: boolean): void {
    const { field, set, now, trans } = this;
    field.disabled = set.disabled = idle;
    const { series } = this.entry.data;
    const last = series.learning_rate[series.learning_rate.length - 1];
    now.textContent = last && !this.entry.over ? trans.__('now %1', figure(last[1])) : '';
    const { peak } = this;
    if (peak === undefined || peak === this.known || document.activeElement === field) return;
    this.known = peak;
    field.value = String(peak);
  }

  private get peak(): number | undefined {
    const { peakRate, config } = this.entry.data;
    return peakRate ?? (typeof config.learning_rate === 'number' ? config.learning_rate : undefined);
  }

  private async ask(): Promise<void> {
    const { trans, entry, peak } = this;
    const value = Number(this.field.value.trim() || Number.NaN);
    if (!Number.isFinite(value) || value < 0) return entry.say(trans.__('The learning rate must be a number such as 2e-4.'));
    if (peak && value > ABSURD * peak) {
      const times = Math.round(value / peak).toLocaleString();
      const { button } = await showDialog({
        title: trans.__('Set the learning rate to %1?', value),
        body: trans.__('That is %1 times the present peak of %2. Training most likely falls apart at it.', times, peak),
        buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Set it') })],
        defaultButton: 0,
      });
      if (!button.accept) return entry.say(trans.__('The learning rate stays at its peak of %1.', peak));
    }
    entry.ask('learning_rate', value);
  }
}
