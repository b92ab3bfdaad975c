import type { Tokenizer } from '../tokenizers/tokenizer';
import type { Example, Prepared } from './sft';
import { endTokens } from './spans';

/** Something that one should know of rows before they are trained on. */
export interface Finding {
  kind: 'good' | 'note' | 'bad';
  text: string;
}

/** A row as the model sees it. */
export interface SeenRow {
  /** Its number, and why it is shown: 'Row 3: the longest answer'. */
  title: string;
  tokens: number;
  learned: number;
  /** Its text in runs that are learned or not, one behind another. */
  runs: { text: string; learned: boolean }[];
}

/** How many rows have so many tokens, and how many answers. */
export interface LengthBin {
  from: number;
  to: number;
  rows: number;
  answers: number;
}

/** What there is to know of rows before they are trained on. */
export interface Audit {
  name: string;
  findings: Finding[];
  /** Labels and values. */
  figures: [string, string][];
  rows: SeenRow[];
  lengths: LengthBin[];
}

/** What an audit looks at. */
export interface Audited {
  name: string;
  tokenizer: Tokenizer;
  train: Prepared;
  eval?: Prepared;
  max_length: number | null;
  /** Rows that the texts were packed into. */
  packed?: Example[];
  /** Whether rows that are longer than max_length go on in further rows. */
  goesOn?: boolean;
  /** Whether rows are conversations. */
  chats?: boolean;
}

/** Tokens of a row that are shown, at most: its beginning and its end. */
const SHOWN = 600;
const BINS = 16;
const percent = (share: number) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
const many = (n: number, what: string) => `${n} ${what}${n === 1 ? '' : 's'}`;
const least = (numbers: number[]) => numbers.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
const learnedOf = ({ trained }: Example): number => trained.reduce((n, learned, i) => n + (learned && i ? 1 : 0), 0);

function runsOf({ input_ids, trained }: Example, tokenizer: Tokenizer): SeenRow['runs'] {
  const runs: SeenRow['runs'] = [];
  const show = (first: number, end: number) => {
    for (let from = first; from < end; ) {
      let to = from + 1;
      while (to < end && trained[to] === trained[from]) to++;
      runs.push({ text: tokenizer.decode(input_ids.slice(from, to)), learned: trained[from] });
      from = to;
    }
  };
  const hidden = input_ids.length - SHOWN;
  if (hidden <= 0) show(0, input_ids.length);
  else {
    show(0, SHOWN / 2);
    runs.push({ text: ` … ${many(hidden, 'token')} … `, learned: false });
    show(input_ids.length - SHOWN / 2, input_ids.length);
  }
  return runs;
}

/** How a row's last answer ends: with a token that ends it and is learned, with one that is not, or without. */
function endingOf({ input_ids, trained }: Example, isEnd: (id: number) => boolean): 'learned' | 'unlearned' | 'none' {
  const last = trained.lastIndexOf(true);
  for (let i = last; i > last - 3 && i > 0; i--) if (isEnd(input_ids[i])) return 'learned';
  return input_ids.slice(last + 1, last + 3).some(isEnd) ? 'unlearned' : 'none';
}

/** 53 bits that rows of the same tokens have in common, and others as good as never. */
function keyOf({ input_ids }: Example): number {
  let [a, b] = [0x811c9dc5, input_ids.length];
  for (const id of input_ids) {
    a = Math.imul(a ^ id, 0x01000193);
    b = Math.imul(b ^ (id + 0x9e37), 0x85ebca6b) ^ (b >>> 13);
  }
  return (a >>> 0) * 2 ** 21 + ((b >>> 0) & 0x1fffff);
}

function lengthsOf(examples: Example[], answers: number[]): LengthBin[] {
  const longest = examples.reduce((most, { input_ids }) => Math.max(most, input_ids.length), 1);
  const width = Math.ceil((longest + 1) / BINS);
  const bins = Array.from({ length: Math.ceil((longest + 1) / width) }, (_, i) => ({
    from: i * width,
    to: (i + 1) * width - 1,
    rows: 0,
    answers: 0,
  }));
  for (const [i, { input_ids }] of examples.entries()) {
    bins[Math.floor(input_ids.length / width)].rows++;
    bins[Math.floor(answers[i] / width)].answers++;
  }
  return bins;
}

/** The findings that say how texts end: a model that never learns an end never stops. */
function endings({ train: { examples, origins }, tokenizer }: Audited): Finding[] {
  const ends = endTokens(tokenizer);
  const whole = examples.filter((_, i) => !origins[i].lost);
  const found = whole.map((example) => endingOf(example, (id) => ends.has(id)));
  const count = (kind: (typeof found)[number]) => found.filter((one) => one === kind).length;
  const [learned, unlearned, none] = [count('learned'), count('unlearned'), count('none')];
  if (!whole.length) return [];
  if (learned === whole.length)
    return [
      {
        kind: 'good',
        text: `Every answer${whole.length < examples.length ? ' that is not cut' : ''} ends with a token that ends it, and this is learned: the model learns to stop.`,
      },
    ];
  return [
    ...(unlearned
      ? [
          {
            kind: 'bad' as const,
            text: `In ${many(unlearned, 'row')} of ${whole.length} the token that ends the answer is there and is not learned: the model would not learn to stop.`,
          },
        ]
      : []),
    ...(none
      ? [
          {
            kind: 'bad' as const,
            text: `${many(none, 'row')} of ${whole.length} ${none === 1 ? 'has' : 'have'} no token that ends the answer (${tokenizer.eos_token ?? 'the tokenizer has no eos_token'}): the model would not learn to stop.`,
          },
        ]
      : []),
  ];
}

function doubles({ train: { examples }, eval: test, tokenizer }: Audited): Finding[] {
  const findings: Finding[] = [];
  const bos = tokenizer.bos_token_id;
  const doubled = examples.filter(({ input_ids: [first, second] }) => bos !== undefined && first === bos && second === bos).length;
  if (doubled)
    findings.push({
      kind: 'bad',
      text: `${many(doubled, 'row')} begin with ${tokenizer.bos_token} twice: the tokenizer puts it before each text, and the text has it too. Take it out of the texts, or set tokenizer.add_bos_token = false.`,
    });
  const keys = new Set(examples.map(keyOf));
  const again = examples.length - keys.size;
  if (again)
    findings.push({
      kind: 'note',
      text: `${many(again, 'row')} of ${examples.length} ${again === 1 ? 'is' : 'are'} there more than once.`,
    });
  const seen = test?.examples.filter((example) => keys.has(keyOf(example))).length ?? 0;
  if (test && seen)
    findings.push({
      kind: 'bad',
      text: `${many(seen, 'row')} of ${test.examples.length} to evaluate with ${seen === 1 ? 'is' : 'are'} trained on too: ${seen === test.examples.length ? 'eval_loss measures nothing but memory' : 'eval_loss is too good'}.`,
    });
  else if (test) findings.push({ kind: 'good', text: 'No row to evaluate with is trained on.' });
  return findings;
}

function cuts({ train, max_length, goesOn }: Audited, tokens: number): Finding[] {
  const { truncated, tokensLost, dropped, examples } = train;
  const rows = examples.length + dropped;
  const findings: Finding[] = [];
  if (truncated)
    findings.push({
      kind: tokensLost > 0.02 * (tokens + tokensLost) ? 'bad' : 'note',
      text: `${many(truncated, 'row')} of ${rows} ${truncated === 1 ? 'is' : 'are'} longer than max_length = ${max_length} and cut there: ${percent(tokensLost / (tokens + tokensLost))} of all tokens are lost. Raise max_length, or leave such rows out.`,
    });
  else {
    const longer = max_length === null ? 0 : examples.filter(({ input_ids }) => input_ids.length > max_length).length;
    const none = max_length === null ? 'No row is cut.' : `No row is longer than max_length = ${max_length}.`;
    const on = `${many(longer, 'row')} of ${rows} ${longer === 1 ? 'is' : 'are'} longer than max_length = ${max_length} and ${longer === 1 ? 'goes' : 'go'} on in further rows: no token is lost, but the model does not see such a row as a whole.`;
    findings.push(goesOn && longer ? { kind: 'note', text: on } : { kind: 'good', text: none });
  }
  if (dropped)
    findings.push({
      kind: 'bad',
      text: `${many(dropped, 'row')} of ${rows} (${train.droppedRows.slice(0, 5).join(', ')}${dropped > 5 ? ', …' : ''}) ${dropped === 1 ? 'has' : 'have'} nothing to learn and ${dropped === 1 ? 'is' : 'are'} left out.`,
    });
  return findings;
}

function rowsOf({ train: { examples, origins }, tokenizer }: Audited, answers: number[]): SeenRow[] {
  const most = (compare: (a: number, b: number) => boolean, of: number[]) =>
    of.reduce((best, n, i) => (compare(n, of[best]) ? i : best), 0);
  const chosen: [number, string][] = [
    [0, ''],
    ...(examples.length > 1 ? [[1, ''] as [number, string]] : []),
    [most((a, b) => a > b, answers), 'the longest answer'],
    [most((a, b) => a < b, answers), 'the shortest answer'],
    ...(origins.some(({ lost }) => lost) ? [[origins.findIndex(({ lost }) => lost), 'cut'] as [number, string]] : []),
  ];
  const why = new Map<number, string[]>();
  for (const [i, reason] of chosen) why.set(i, [...(why.get(i) ?? []), ...(reason ? [reason] : [])]);
  return [...why].map(([i, reasons]) => ({
    title: `Row ${origins[i].row}${reasons.length ? `: ${reasons.join(', ')}` : ''}`,
    tokens: examples[i].input_ids.length,
    learned: answers[i],
    runs: runsOf(examples[i], tokenizer),
  }));
}

/** What there is to know of rows before they are trained on: how they are seen, what of them is learned, and what looks wrong. */
export function auditOf(audited: Audited): Audit {
  const { train, eval: test, packed, chats, max_length } = audited;
  const { examples } = train;
  const answers = examples.map(learnedOf);
  const tokens = examples.reduce((n, { input_ids }) => n + input_ids.length, 0);
  const learned = answers.reduce((n, one) => n + one, 0);
  const sorted = examples.map(({ input_ids }) => input_ids.length).sort((a, b) => a - b);
  const share = learned / Math.max(1, tokens - examples.length);
  const all = share === 1;
  const findings: Finding[] = [
    ...(all && chats
      ? [{ kind: 'note' as const, text: 'Every token is learned, questions too. To learn answers alone: assistant_only_loss: true.' }]
      : []),
    ...(share < 0.02
      ? [{ kind: 'note' as const, text: `Only ${percent(share)} of all tokens are learned: much is read for little.` }]
      : []),
    ...cuts(audited, tokens),
    ...endings(audited),
    ...doubles(audited),
  ];
  const figures: [string, string][] = [
    ['rows', `${examples.length}${test ? `, ${test.examples.length} to evaluate with` : ''}`],
    ['tokens', String(tokens)],
    ['learned', `${learned} (${percent(share)})`],
    ['length of rows', `${sorted[0]} to ${sorted.at(-1)}, half of them up to ${sorted[sorted.length >> 1]}`],
    ['length of answers', `${least(answers)} to ${-least(answers.map((n) => -n))}`],
    ...(packed
      ? [
          [
            'packed into',
            `${many(packed.length, 'row')}, ${percent(packed.reduce((n, { input_ids }) => n + input_ids.length, 0) / (packed.length * (max_length ?? 1)))} full`,
          ] as [string, string],
        ]
      : []),
  ];
  const order = { bad: 0, note: 1, good: 2 };
  return {
    name: audited.name,
    findings: findings.sort((a, b) => order[a.kind] - order[b.kind]),
    figures,
    rows: rowsOf(audited, answers),
    lengths: lengthsOf(examples, answers),
  };
}
