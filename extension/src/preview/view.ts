import { Widget } from '@lumino/widgets';
import { type PreviewData, type PreviewRow, SIGNS } from '@tunebook/views';
import type { Context } from '../context';
import { element, table, tabs } from '../dom';

/** Rows as the model sees them, what of them is learned in colour; what looks wrong; lengths as bars. */
export class PreviewView extends Widget {
  constructor(
    private readonly data: PreviewData,
    private readonly context: Context,
  ) {
    super();
    this.addClass('tunebook-view');
    this.addClass('tunebook-preview');
    const { trans } = context;
    const rows = element('div', { tabIndex: 0 }, this.legend(), ...data.rows.map((row) => this.row(row)));
    const lengths = element('div', { tabIndex: 0 }, this.lengths());
    const figures = element('div', { tabIndex: 0 }, table(data.figures, { caption: trans.__('Figures of the rows') }));
    const bar = tabs(
      [
        [trans.__('Rows'), rows],
        [trans.__('Lengths'), lengths],
        [trans.__('Figures'), figures],
      ],
      trans.__('Views of the rows'),
      () => undefined,
    );
    this.node.append(
      element('p', { className: 'tunebook-heading', textContent: trans.__('Rows of %1 as the model sees them', data.name) }),
      this.findings(),
      element('div', { className: 'tunebook-bar' }, bar),
      element('div', { className: 'tunebook-pages' }, rows, lengths, figures),
    );
  }

  private findings(): HTMLElement {
    const { trans } = this.context;
    const said = { good: trans.__('Good:'), note: trans.__('Note:'), bad: trans.__('Look at this:') };
    const items = this.data.findings.map(({ kind, text }) =>
      element(
        'li',
        { className: `tunebook-finding tunebook-${kind}` },
        element('span', { className: 'tunebook-sign', 'aria-hidden': 'true', textContent: SIGNS[kind] }),
        element('span', { className: 'tunebook-kind', textContent: said[kind] }),
        element('span', { textContent: text }),
      ),
    );
    return element('ul', { className: 'tunebook-findings', 'aria-label': trans.__('What was found') }, ...items);
  }

  private legend(): HTMLElement {
    const { trans } = this.context;
    return element(
      'p',
      {},
      trans.__('The model reads all of a row and learns to write what is '),
      element('mark', { textContent: trans.__('marked') }),
      '.',
    );
  }

  private row({ title, tokens, learned, runs }: PreviewRow): HTMLElement {
    const { trans } = this.context;
    const text = runs.map((run) => element(run.learned ? 'mark' : 'span', { textContent: run.text }));
    return element(
      'section',
      {},
      element(
        'p',
        { className: 'tunebook-row-title' },
        element('b', { textContent: title }),
        ' ',
        trans.__('%1 tokens, %2 to learn', tokens, learned),
      ),
      element('pre', { className: 'tunebook-row', role: 'group', tabIndex: 0, 'aria-label': title }, ...text),
    );
  }

  private lengths(): HTMLElement {
    const { trans } = this.context;
    const { lengths } = this.data;
    const most = lengths.reduce((n, bin) => Math.max(n, bin.rows, bin.answers), 1);
    const bar = (kind: string, n: number) =>
      element(
        'td',
        {},
        n > 0 &&
          element('span', { className: `tunebook-length tunebook-${kind}`, style: `width: ${(100 * n) / most}%`, 'aria-hidden': 'true' }),
        element('span', { textContent: String(n) }),
      );
    const body = lengths.map(({ from, to, rows, answers }) =>
      element('tr', {}, element('th', { scope: 'row', textContent: `${from}–${to}` }), bar('rows', rows), bar('answers', answers)),
    );
    const head = [trans.__('tokens'), trans.__('rows'), trans.__('answers')].map((name) =>
      element('th', { scope: 'col', textContent: name }),
    );
    return element(
      'table',
      { className: 'tunebook-lengths' },
      element('caption', { textContent: trans.__('How many rows, and how many answers, have so many tokens') }),
      element('thead', {}, element('tr', {}, ...head)),
      element('tbody', {}, ...body),
    );
  }
}
