import type { TranslationBundle } from '@jupyterlab/translation';
import { latestSamples, type Sample } from '@tunebook/views';
import { button, element } from '../dom';
import type { RunEntry } from './store';

const LONGEST = 4000;

/** What the model writes, beside the plot: the latest samples in the order in which they were asked for, and a field for a question of one's own. */
export class Aside {
  readonly node: HTMLElement;
  private readonly list = element('div', { className: 'tunebook-answers', tabIndex: 0, role: 'log' });
  private readonly field: HTMLInputElement;
  private readonly send: HTMLButtonElement;
  private readonly form: HTMLElement;
  /** Questions that wait for their answers. */
  private waiting: string[] = [];
  private answered = 0;
  private drawn: unknown;

  constructor(
    private readonly entry: RunEntry,
    private readonly trans: TranslationBundle,
  ) {
    const label = trans.__('Ask the model');
    this.field = element('input', {
      ...{ type: 'text', placeholder: `${label} …`, maxLength: LONGEST, autocomplete: 'off', 'aria-label': label },
      title: trans.__('A question of your own: it is answered after the step that is on, with the adapter and without it'),
    });
    this.field.onkeydown = (event) => {
      if (event.key !== 'Enter' || event.isComposing) return;
      event.preventDefault();
      this.ask();
    };
    this.send = button(trans.__('Ask'), trans.__('Ask after the step that is on'), () => this.ask());
    this.form = element('div', { className: 'tunebook-ask' }, this.field, this.send);
    this.node = element('section', { className: 'tunebook-aside', 'aria-label': trans.__('What the model writes') }, this.form, this.list);
    this.answered = this.own.length;
  }

  /** Whether there is nothing to be seen: nobody can ask, and nothing was written. */
  get empty(): boolean {
    return this.entry.over && !this.entry.data.samples.length;
  }

  update(): void {
    const { entry, field, send, form } = this;
    const idle = Boolean(entry.idleReason);
    form.hidden = entry.over;
    field.disabled = send.disabled = idle;
    const { own } = this;
    for (const { prompt } of own.slice(this.answered)) {
      const at = this.waiting.indexOf(prompt);
      if (at >= 0) this.waiting.splice(at, 1);
    }
    this.answered = own.length;
    if (entry.over) this.waiting = [];
    const { samples } = entry.data;
    const state = JSON.stringify([samples.length, samples[samples.length - 1], this.waiting]);
    if (state === this.drawn) return;
    this.drawn = state;
    const atEnd = this.list.scrollTop + this.list.clientHeight >= this.list.scrollHeight - 8;
    const { trans } = this;
    this.list.replaceChildren(
      ...latestSamples(entry.data)
        .slice(-30)
        .map((sample) => this.answer(sample)),
      ...this.waiting.map((question) =>
        this.entryOf(question, '', element('p', { className: 'tunebook-age', textContent: trans.__('waits for its turn …') })),
      ),
    );
    if (atEnd) this.list.scrollTop = this.list.scrollHeight;
  }

  private get own(): Sample[] {
    return this.entry.data.samples.filter(({ asked }) => asked);
  }

  private ask(): void {
    const question = this.field.value.trim();
    if (!question || this.field.disabled) return;
    this.entry.ask('ask', question);
    this.waiting.push(question);
    this.field.value = '';
    this.update();
    this.list.scrollTop = this.list.scrollHeight;
  }

  private answer({ step, prompt, text, base }: Sample): HTMLElement {
    const { trans } = this;
    const said = (label: string, textContent: string) =>
      element('div', {}, element('span', { className: 'tunebook-label', textContent: label }), element('p', { textContent }));
    const when = trans.__('step %1', step);
    return base === undefined
      ? this.entryOf(prompt, when, element('p', { textContent: text }))
      : this.entryOf(
          prompt,
          when,
          element('div', { className: 'tunebook-pair' }, said(trans.__('base model'), base), said(trans.__('with the adapter'), text)),
        );
  }

  private entryOf(question: string, when: string, answer: HTMLElement): HTMLElement {
    return element(
      'article',
      {},
      element('p', { className: 'tunebook-question' }, question, ' ', element('span', { className: 'tunebook-label', textContent: when })),
      answer,
    );
  }
}
