import { inspect as nodeInspect } from 'node:util';
import { PREVIEW_MIME, type PreviewData, previewPayload, SIGNS } from '../../views';
import { OptionError } from '../core/errors';
import { escapeHtml } from '../core/html';
import { readOptions, show } from '../core/options';
import { type Audit, auditOf, type Finding } from '../data/audit';
import { Dataset } from '../data/dataset';
import { IterableDataset } from '../data/iterable_dataset';
import { datasetOf } from '../data/load_dataset';
import type { Row } from '../data/rows';
import { Tokenizer } from '../tokenizers/tokenizer';
import { auditRows, type FormattingFunc, prepareRows, setUpTokenizer } from '../trainers/prepare';
import { SFTConfig } from '../trainers/sft_config';
import { type Bundle, Display, inNotebook } from './display';

const cell = (tag: 'th' | 'td', text: string) => `<${tag} style="text-align:left">${escapeHtml(text)}</${tag}>`;
const LEARNED = 'background:#c8e6c9;color:#000';

function htmlOf({ findings, figures, rows }: PreviewData): string {
  const list = findings.map(({ kind, text }) => `<li>${SIGNS[kind]} ${escapeHtml(text)}</li>`).join('');
  const table = figures.map(([label, value]) => `<tr>${cell('th', label)}${cell('td', value)}</tr>`).join('');
  const shown = rows.map(
    ({ title, tokens, learned, runs }) =>
      `<p style="margin:8px 0 2px"><b>${escapeHtml(title)}</b>: ${tokens} tokens, <mark style="${LEARNED}">${learned} to learn</mark></p>` +
      `<pre style="white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere;margin:0;padding:6px;border:1px solid #8884;border-radius:4px">${runs
        .map((run) => (run.learned ? `<mark style="${LEARNED}">${escapeHtml(run.text)}</mark>` : escapeHtml(run.text)))
        .join('')}</pre>`,
  );
  return `<ul style="list-style:none;padding:0">${list}</ul><table>${table}</table>${shown.join('')}`;
}

function textOf({ name, findings, figures, rows }: PreviewData): string {
  const shown = rows.map(
    ({ title, tokens, learned, runs }) =>
      `${title}: ${tokens} tokens, ${learned} to learn (between ⟦ and ⟧)\n${runs.map((run) => (run.learned ? `⟦${run.text}⟧` : run.text)).join('')}`,
  );
  return [
    `Rows of ${name} as the model sees them`,
    ...findings.map(({ kind, text }) => `${SIGNS[kind]} ${text}`),
    ...figures.map(([label, value]) => `${label}: ${value}`),
    ...shown.map((row) => `\n${row}`),
  ].join('\n');
}

/** What `preview` finds. As a cell's last value it shows itself; `show()` does so anywhere. */
export class PreviewReport {
  private readonly data: PreviewData;

  constructor(audit: Audit) {
    this.data = { ...audit, createdAt: new Date().toISOString() };
  }

  /** What looks right, and what does not: of each its kind ('good', 'note', 'bad') and a sentence. */
  get findings(): Finding[] {
    return this.data.findings;
  }
  /** Labels and values. */
  get figures(): [string, string][] {
    return this.data.figures;
  }
  /** Some rows, as runs of text that are learned or not. */
  get rows(): PreviewData['rows'] {
    return this.data.rows;
  }
  /** How many rows and answers have how many tokens. */
  get lengths(): PreviewData['lengths'] {
    return this.data.lengths;
  }

  /** The report as an output for readers of all kinds. */
  bundle(): Bundle {
    return { [PREVIEW_MIME]: previewPayload(this.data), 'text/html': htmlOf(this.data), 'text/plain': textOf(this.data) };
  }

  [Symbol.for('Jupyter.display')](): Bundle {
    return this.bundle();
  }

  [nodeInspect.custom](): string {
    return textOf(this.data);
  }

  /** Shows it: in a notebook as an output, elsewhere as text. */
  show(): void {
    if (inNotebook()) new Display(`tunebook-preview-${Date.now()}`).show(this.bundle());
    else process.stderr.write(`${textOf(this.data)}\n`);
  }
}

/** What `preview` looks at beside the rows. */
export interface PreviewOptions {
  /** The model's tokenizer. Needed. Default: null. */
  tokenizer: Tokenizer | null;
  /** How rows will be trained on; null: with all defaults. Default: null. */
  args: SFTConfig<string> | null;
  /** Rows to evaluate with, which should be none of those that are trained on; null: none. Default: null. */
  eval_dataset: Dataset | null;
  /** As SFTTrainer's. Default: null. */
  formatting_func: FormattingFunc | null;
}

/** Rows of a stream that are looked at. */
const OF_STREAM = 1000;

/**
 * Rows as a model will see them, what of them is learned, and what looks wrong: rows that are cut, dropped or masked, ends that are not learned, beginnings
 * that are doubled, rows to evaluate with that are trained on, the shortest and the longest answers. An SFTTrainer shows the same before it trains. Of a
 * stream the first 1,000 rows are looked at.
 */
export async function preview<R extends object>(
  dataset: Dataset<R> | IterableDataset<R>,
  options: Partial<PreviewOptions> & Record<string, unknown>,
): Promise<PreviewReport> {
  const o = readOptions<PreviewOptions>(
    'preview',
    options,
    { tokenizer: null, args: null, eval_dataset: null, formatting_func: null },
    { processing_class: { to: 'tokenizer' } },
  );
  if (!(o.tokenizer instanceof Tokenizer))
    throw new OptionError(`preview needs the model's tokenizer: preview(rows, { tokenizer }), but it is ${show(o.tokenizer)}.`);
  const rows =
    dataset instanceof IterableDataset ? Dataset.from_list(await dataset.head(OF_STREAM)) : datasetOf('preview', 'dataset', dataset);
  const args = o.args instanceof SFTConfig ? o.args : new SFTConfig(o.args ?? {});
  const test = o.eval_dataset && datasetOf('preview', 'eval_dataset', o.eval_dataset);
  const { tokenizer } = o;
  const { eos_token, chat_template } = tokenizer;
  try {
    setUpTokenizer(args, tokenizer);
    const train = prepareRows('train_dataset', rows as Dataset<Row>, tokenizer, args, o.formatting_func);
    const evaluated = test ? prepareRows('eval_dataset', test, tokenizer, args, o.formatting_func) : undefined;
    return new PreviewReport(auditOf(auditRows(rows as Dataset<Row>, tokenizer, args, train, evaluated)));
  } finally {
    // A trainer keeps what the options say; whoever only looks leaves the tokenizer as it was.
    Object.assign(tokenizer, { eos_token, chat_template });
  }
}
