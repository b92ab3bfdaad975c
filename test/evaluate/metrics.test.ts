// Metrics against scikit-learn, sacrebleu and rouge_score on random rows: a case is a row of a table.
import { beforeAll, expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { combine, load, METRICS } from '../../src/evaluate/metrics';
import { classification_report } from '../../src/evaluate/report';
import { bootstrap, mcnemar } from '../../src/evaluate/statistics';
import { peer } from '../peer';

interface Case {
  kind: 'labels' | 'texts';
  metric: string;
  predictions?: unknown[];
  prediction_scores?: unknown[];
  references: unknown[];
  sample_weight?: number[];
  options: Record<string, unknown>;
}

const ROWS = 60;
const random = Random.seeded(7);
const pick = <T>(values: readonly T[]): T => values[random.below(values.length)];
const column = <T>(of: () => T, rows = ROWS): T[] => Array.from({ length: rows }, of);

/** Two columns of labels that agree more often than by chance. */
function labels(from: readonly unknown[]) {
  const references = column(() => pick(from));
  return { references, predictions: references.map((label) => (random.uniform() < 0.6 ? label : pick(from))) };
}

const softmax = (n: number) => {
  const values = Array.from({ length: n }, () => Math.exp(2 * random.uniform()));
  const sum = values.reduce((a, b) => a + b);
  return values.map((value) => value / sum);
};

const [two, three, words] = [
  [0, 1],
  [0, 1, 2],
  ['ham', 'spam', 'unsure'],
];
const weights = () => column(() => 0.5 + random.uniform());
const scored = (from: readonly unknown[]) => ({
  references: column(() => pick(from)),
  prediction_scores: column(() => Math.round(random.uniform() * 20) / 20),
});

function labelCases(): Case[] {
  const cases: Omit<Case, 'kind'>[] = [];
  for (const options of [{}, { normalize: false }]) cases.push({ metric: 'accuracy', ...labels(three), options });
  cases.push({ metric: 'accuracy', ...labels(words), sample_weight: weights(), options: {} });
  for (const metric of ['precision', 'recall', 'f1']) {
    cases.push({ metric, ...labels(two), options: {} }, { metric, ...labels(two), sample_weight: weights(), options: { pos_label: 0 } });
    for (const average of ['micro', 'macro', 'weighted', null]) {
      cases.push({ metric, ...labels(three), options: { average } });
      cases.push({ metric, ...labels(words), sample_weight: weights(), options: { average, labels: ['spam', 'ham'] } });
      for (const zero_division of [0, 1, 'NaN'])
        cases.push({ metric, predictions: [0, 0, 1, 3], references: [0, 1, 1, 2], options: { average, zero_division } });
    }
  }
  for (const normalize of [null, 'true', 'pred', 'all'])
    cases.push({ metric: 'confusion_matrix', ...labels(words), options: { normalize } });
  cases.push({ metric: 'confusion_matrix', ...labels(three), sample_weight: weights(), options: { labels: [2, 0] } });
  for (const from of [two, three, words]) cases.push({ metric: 'matthews_correlation', ...labels(from), options: {} });
  cases.push({ metric: 'matthews_correlation', predictions: [1, 1], references: [1, 0], options: {} });
  cases.push(
    { metric: 'roc_auc', ...scored(two), options: {} },
    { metric: 'roc_auc', ...scored(['no', 'yes']), sample_weight: weights(), options: {} },
  );
  for (const [multi_class, average] of [
    ['ovr', 'macro'],
    ['ovr', 'weighted'],
    ['ovr', 'micro'],
    ['ovr', null],
    ['ovo', 'macro'],
    ['ovo', 'weighted'],
  ])
    cases.push({
      metric: 'roc_auc',
      references: column(() => pick(words)),
      prediction_scores: column(() => softmax(3)),
      options: { multi_class, average },
    });
  cases.push({ metric: 'brier_score', ...scored(two), options: {} });
  for (const n_bins of [5, 10, 7]) cases.push({ metric: 'calibration_error', ...scored(two), options: { n_bins } });
  for (const options of [
    {},
    { digits: 4 },
    { target_names: ['bad', 'middling or a name longer than the others', 'good'] },
    { labels: [2, 0] },
    { labels: [0, 1, 2, 3], zero_division: 0 },
  ])
    cases.push({ metric: 'report', ...labels(three), options });
  cases.push({ metric: 'report', ...labels([-1, 0, 12]), options: {} }, { metric: 'report', ...labels(words), options: {} });
  return cases.map((one) => ({ kind: 'labels', ...one }));
}

const VOCABULARY = [
  'the',
  'The',
  'cat',
  'sat',
  'on',
  'mat.',
  'a',
  '3,000.5',
  'dogs',
  "don't",
  '(yes)',
  'caf\u00e9',
  '\u2014',
  '&amp;',
  'x-ray',
  '1990-1991',
  '\u00a0',
  '\u6f22\u5b57',
  '\ud83d\ude42',
  'end-\nline',
  '$5',
  '!',
];

function textCases(): Case[] {
  const text = () => column(() => pick(VOCABULARY), random.below(14)).join(pick([' ', ' ', '  ', '\n']));
  const near = (of: string) =>
    of
      .split(' ')
      .filter(() => random.uniform() < 0.8)
      .join(' ');
  const rows = (several: number) => {
    const references = column(() => column(text, 1 + random.below(several)), 30);
    return { references, predictions: references.map((list) => near(list[0])) };
  };
  const options = [
    {},
    { lowercase: true },
    { tokenize: 'intl' },
    { tokenize: 'char' },
    { tokenize: 'none' },
    { smooth_method: 'none' },
    { smooth_method: 'floor' },
    { smooth_method: 'add-k', smooth_value: 0.5 },
    { use_effective_order: true },
  ];
  return [
    ...options.map((its): Case => ({ kind: 'texts', metric: 'sacrebleu', ...rows(3), options: its })),
    { kind: 'texts', metric: 'sacrebleu', predictions: ['a b', ''], references: [['c d'], ['e']], options: {} },
    { kind: 'texts', metric: 'sacrebleu', predictions: ['a b'], references: [['a c']], options: { smooth_method: 'none' } },
    { kind: 'texts', metric: 'rouge', ...rows(3), options: {} },
    { kind: 'texts', metric: 'rouge', ...rows(1), options: { rouge_types: ['rouge3', 'rougeLsum'] } },
  ];
}

/** Ours in the peer's form. */
function ours({ kind, metric, options, ...columns }: Case): unknown {
  const its = Object.fromEntries(Object.entries(options).map(([key, value]) => [key, value === 'NaN' ? Number.NaN : value]));
  if (metric === 'report') return classification_report(columns.references, columns.predictions as unknown[], its);
  delete (columns as { kind?: string }).kind;
  const result = load(metric).compute({ ...columns, ...its, ...(metric === 'rouge' ? { use_aggregator: false } : {}) });
  if (metric === 'calibration_error') return [result.prob_true, result.prob_pred];
  if (metric === 'sacrebleu') return Object.values(result);
  return metric === 'rouge' ? result : Object.values(result)[0];
}

/** The same, numbers within 1e-9; what is not defined is null in JSON. */
function same(a: unknown, b: unknown, where: string) {
  if (typeof a === 'number' && typeof b === 'number')
    expect(Math.abs(a - b), `${where}: ${a} and ${b}`).toBeLessThanOrEqual(1e-9 * Math.max(1, Math.abs(b)));
  else if (typeof a === 'number' && Number.isNaN(a)) expect(b, where).toBeNull();
  else if (a && typeof a === 'object' && b && typeof b === 'object') {
    expect(Object.keys(a), where).toEqual(Object.keys(b));
    for (const [key, value] of Object.entries(a)) same(value, (b as Record<string, unknown>)[key], `${where}.${key}`);
  } else expect(a, where).toBe(b);
}

const cases = [...labelCases(), ...textCases()];
let theirs: unknown[];
beforeAll(() => {
  theirs = peer('all', cases, 'metrics_peer.py');
}, 120_000);

it.each(cases.map((one, i) => ({ i, name: `${one.metric} ${JSON.stringify(one.options)}` })))(
  '$i: $name as the Python original',
  ({ i, name }) => {
    same(ours(cases[i]), theirs[i], name);
  },
);

it('every metric is compared with an original, or has values known by heart below', () => {
  expect(Object.keys(METRICS).filter((name) => !cases.some(({ metric }) => metric === name))).toEqual(['exact_match', 'squad']);
});

it('exact match ignores what it is told to', () => {
  const rows = { predictions: ['Cat!', 'theatre', 'agent007'], references: ['cat', 'the theatre', 'agent'] };
  const of = (options: object) => load('exact_match').compute({ ...rows, ...options }).exact_match;
  expect(of({})).toBe(0);
  expect(of({ ignore_case: true, ignore_punctuation: true })).toBeCloseTo(1 / 3);
  expect(of({ ignore_numbers: true })).toBeCloseTo(1 / 3);
  expect(of({ regexes_to_ignore: ['the ', 'C', 'c', '!', '\\d+'] })).toBe(1);
});

it('the words of answers are compared as the SQuAD script does', () => {
  const predictions = [
    { id: 'b', prediction_text: 'The  Norman conquest, of 1066' },
    { id: 'a', prediction_text: 'an Owl' },
  ];
  const references = [
    { id: 'a', answers: { text: ['owl', 'bird'], answer_start: [0, 1] } },
    { id: 'b', answers: { text: ['Norman invasion', 'conquest'], answer_start: [0, 1] } },
  ];
  // 1 of 4 words and the one word; then 2 / (4 + 1) = 0.4; the other answer has 1 of 2: 2 / (4 + 2).
  expect(load('squad').compute({ predictions, references })).toEqual({ exact_match: 50, f1: 100 * (0.4 + 1) * 0.5 });
  expect(load('squad').compute({ predictions: ['the cat'], references: ['Cat'] })).toEqual({ exact_match: 100, f1: 100 });
});

it('several as one, row by row', () => {
  const all = combine(['accuracy', 'f1', 'matthews_correlation']);
  for (const [prediction, reference] of [
    [1, 1],
    [0, 1],
    [0, 0],
  ])
    all.add({ prediction, reference });
  all.add_batch({ predictions: [1], references: [0] });
  expect(all.compute()).toEqual({ accuracy: 0.5, f1: 0.5, matthews_correlation: 0 });
  expect(() => all.compute()).toThrow(/needs predictions and references/);
  expect(
    combine(['precision', 'recall']).compute({ predictions: ['a', 'b'], references: ['a', 'a'], average: 'macro', zero_division: 0 }),
  ).toEqual({
    precision: 0.5,
    recall: 0.25,
  });
});

it('intervals and p-values as scipy has them', () => {
  const rows = Array.from({ length: 200 }, () => ({ right: random.uniform() < 0.8 }));
  const given = { predictions: rows.map(({ right }) => Number(right)), references: rows.map(() => 1) };
  const { accuracy } = bootstrap(load('accuracy'), given, { n_resamples: 4000 });
  const [low, high] = peer<number[]>('interval', { values: given.predictions }, 'metrics_peer.py');
  expect(Math.abs(accuracy.low - low)).toBeLessThanOrEqual(0.011);
  expect(Math.abs(accuracy.high - high)).toBeLessThanOrEqual(0.011);
  expect(bootstrap(load('accuracy'), given, { n_resamples: 100 })).toEqual(bootstrap(load('accuracy'), given, { n_resamples: 100 }));
  const counts = [
    [0, 0],
    [0, 5],
    [7, 7],
    [3, 12],
    [40, 61],
    [700, 800],
  ];
  const p = counts.map(
    ([a, b]) => mcnemar([...Array(a).fill(true), ...Array(b).fill(false)], [...Array(a).fill(false), ...Array(b).fill(true)]).p_value,
  );
  same(p, peer('binomial', counts, 'metrics_peer.py'), 'p');
});

it.each<[string, Record<string, unknown>, RegExp]>([
  ['accuracy', { predictions: [1, 2], references: [1] }, /2 predictions, but 1 references/],
  ['accuracy', { predictions: [], references: [] }, /no rows/],
  ['accuracy', { predictions: ['1'], references: [1] }, /all numbers, all texts or all booleans, but there are '1', 1/],
  ['accuracy', { predictions: [1] }, /references are missing/],
  ['accuracy', { predictions: 1, references: 1 }, /as a list/],
  ['f1', { predictions: [0, 1, 2], references: [0, 1, 2] }, /3 labels \(0, 1, 2\), but average is 'binary'.*'macro'/],
  ['f1', { predictions: ['ham'], references: ['spam'] }, /pos_label is 1, but the labels are 'ham', 'spam'/],
  ['f1', { predictions: [0], references: [1], avrage: 'macro' }, /no option avrage.*average/],
  ['f1', { predictions: [0], references: [1], average: 'mean' }, /average must be one of 'binary', 'micro'/],
  ['roc_auc', { prediction_scores: [0.1, 0.2], references: [1, 1] }, /Every row has the label 1/],
  [
    'roc_auc',
    {
      prediction_scores: [
        [0.2, 0.2, 0.2],
        [1, 0, 0],
        [1, 0, 0],
      ],
      references: [0, 1, 2],
      multi_class: 'ovr',
    },
    /add up to 0.6000.*softmax/,
  ],
  [
    'roc_auc',
    {
      prediction_scores: [
        [1, 0, 0],
        [1, 0, 0],
        [1, 0, 0],
      ],
      references: [0, 1, 2],
    },
    /multi_class/,
  ],
  ['brier_score', { prediction_scores: [1.5], references: [1] }, /from 0 to 1, but that of row 0 is 1.5/],
  ['sacrebleu', { predictions: ['a'], references: ['a'], tokenize: 'ja-mecab' }, /'none'/],
  ['sacrebleu', { predictions: [3], references: ['a'] }, /texts, but that of row 0 is 3/],
  ['rouge', { predictions: ['a'], references: ['a'], rouge_types: ['rouge0'] }, /'rouge0' is none/],
  ['rouge', { predictions: ['a'], references: ['a'], use_stemmer: true }, /use_stemmer is not there/],
])('%s %j says what is wrong', (name, given, message) => {
  expect(() => load(name).compute(given)).toThrow(message);
});

it('a name that there is not offers the nearest', () => {
  expect(() => load('acuracy')).toThrow(/no metric 'acuracy'. Did you mean 'accuracy'/);
  expect(() => combine([])).toThrow(/a list/);
});
