import { expect, it } from 'vitest';
import { type FigureOptions, figures } from '../../extension/src/run/figure';
import { Random } from '../../src/core/random';
import { parseRun, runPayload } from '../../views/src';
import { hostile } from '../views/hostile';
import { longRun, runData } from '../views/runs';

const theme = { text: '#222', grid: '#ddd', font: 'sans-serif', dark: false };
const kinds = new Proxy({}, { get: (_, name) => `kind ${String(name)}` });
const words = new Proxy({}, { get: (_, name) => (name === 'kinds' ? kinds : String(name)) }) as FigureOptions['words'];
const isMark = ({ name }: { name: string }) => name.startsWith('kind ') || name === 'events';
const options: FigureOptions = { smoothing: 0.9, logScale: false, width: 900, theme, overlays: [], words };
type Trace = { name: string; x: number[]; y: number[]; text?: string[]; xaxis?: string; line?: { color?: string } };
const draw = (run = longRun(100), more: Partial<FigureOptions> = {}) => {
  const { main, small } = figures(run, { ...options, ...more });
  const traces = main.traces as Trace[];
  const smallNames = (small.traces as Trace[]).map(({ name }) => name);
  return {
    traces,
    layout: main.layout as any,
    tools: main.tools,
    small: small.layout as any,
    names: traces.map(({ name }) => name),
    smallNames,
  };
};

it('shows raw loss, its average, evaluations, events, rate, norm, speed and memory', () => {
  const run = longRun(100);
  run.series.loss[49][1] = 99;
  const { traces, names, smallNames } = draw(run);
  expect(names).toEqual(['loss', 'mean', 'eval_loss', 'kind checkpoint']);
  expect(smallNames).toEqual(['learning_rate', 'grad_norm', 'tokens_per_second', 'resident_bytes machine 3.725']);
  expect(traces[0].y[49], 'a spike stays in the raw line whatever the smoothing').toBe(99);
  expect(traces[1].y[49]).toBeLessThan(20);
});

it('zoom is kept while points arrive, and starts afresh on another kind of axis', () => {
  const [a, b] = [draw(longRun(50)), draw(longRun(60))];
  expect([a.layout.uirevision, a.layout.yaxis.uirevision]).toEqual([b.layout.uirevision, b.layout.yaxis.uirevision]);
  const log = draw(longRun(60), { logScale: true });
  expect(log.layout.yaxis.type).toBe('log');
  expect(log.layout.yaxis.uirevision).not.toBe(b.layout.yaxis.uirevision);
  const zero = runData();
  zero.series.loss[0][1] = 0;
  expect(draw(zero, { logScale: true }).layout.yaxis.type, 'a loss of 0 has no logarithm').toBe('linear');
});

it('other runs are drawn beside it, the one before faintly', () => {
  const other = { ...longRun(30), name: 'other' };
  expect(draw(undefined, { ghost: other, overlays: [other] }).names.slice(0, 2)).toEqual(['before: other', 'other']);
});

it('fits narrow places by two columns, or one, under each other', () => {
  const lefts = (width: number) => ['', 2, 3, 4].map((n) => draw(undefined, { width }).small[`xaxis${n}`].domain[0]);
  expect(new Set(lefts(230))).toEqual(new Set([0]));
  expect(lefts(450)).toEqual([0, 0.58, 0, 0.58]);
  expect(new Set(lefts(900)).size).toBe(4);
});

it('a pile of events is a pile: no marker lies on another, and each tells all that its step has', () => {
  const at = (step: number, text: string) => ({ step, kind: 'paused', text });
  const run = { ...longRun(100), events: [...Array.from('abcdefghij', (text) => at(40, text)), at(41, 'k'), at(80, 'l')] };
  for (const width of [250, 900]) {
    const [marks, ...more] = draw(run, { width }).traces.filter(isMark);
    expect(more).toEqual([]);
    const places = marks.x.map((step, i) => [(step * (width - 64)) / 100, Math.round(marks.y[i] * 1000)] as const);
    for (const [i, [x, y]] of places.entries())
      for (const [u, v] of places.slice(0, i)) expect(Math.abs(x - u) >= 12 || Math.abs(y - v) >= 55, `${x} ${y} ${u} ${v}`).toBe(true);
    expect(marks.text![0]).toBe(Array.from('abcdefghij').join('<br>'));
    expect(marks.text!.at(-1)).toBe('l');
  }
});

it('the legend says what each marker means, once for each kind', () => {
  const events = ['checkpoint', 'paused', 'checkpoint', 'resumed', 'moonrise', 'constructor'].map((kind, i) => ({
    step: i,
    kind,
    text: kind,
  }));
  const { traces } = draw({ ...longRun(10), events });
  expect(traces.filter(isMark).map(({ name, x }) => [name, x])).toEqual([
    ['kind checkpoint', [0, 2]],
    ['kind paused', [1]],
    ['kind resumed', [3]],
    ['events', [4, 5]],
  ]);
});

it('memory has a scale of its own, so that its movement fills its plot', () => {
  const range = (bytes: number[]): number[] => {
    const run = longRun(bytes.length);
    run.series.resident_bytes = bytes.map((value, i) => [i + 1, value * 2 ** 30]);
    return draw(run).small.yaxis4.range;
  };
  expect(range([10, 10.5, 11])).toEqual([expect.closeTo(9.89), expect.closeTo(11.11)]);
  expect(range([4, 4])).toEqual([expect.closeTo(3.96), expect.closeTo(4.04)]);
  expect(range([0, 0])).toEqual([0, 1e-3]);
});

it('tools lie beside the legend where there is room, below it in the plot elsewhere; no strip is kept empty for them', () => {
  const at = (width: number) => draw(undefined, { width });
  const plot = ({ height, margin }: { height: number; margin: { t: number; b: number } }) => height - margin.t - margin.b;
  const legend = ({ height, legend: { y } }: { height: number; legend: { y: number } }) => height * (1 - y);
  const [wide, narrow] = [at(900), at(230)];
  expect([wide.tools, narrow.tools]).toEqual([0, narrow.layout.margin.t]);
  expect(narrow.layout.margin.t, 'a line for each name').toBe(wide.layout.margin.t + 3 * 19);
  for (const { layout } of [wide, narrow, at(500)]) expect(legend(layout)).toBeCloseTo(4);
  expect(plot(narrow.layout)).toBeGreaterThanOrEqual(plot(wide.layout));
});

it('what else was measured has a small plot of its own, with its evaluations', () => {
  const run = longRun(10);
  Object.assign(run.series, { 'rewards/<a>': [[1, 0.5]], 'eval_rewards/<a>': [[2, 0.4]], eval_only: [[3, 1]] });
  for (const width of [300, 900]) {
    const plain = draw(longRun(10), { width }).small;
    const { small, smallNames } = draw(run, { width });
    expect(smallNames.slice(4, 7)).toEqual(['rewards/&lt;a&gt;', 'rewards/&lt;a&gt;: evaluated', 'only: evaluated']);
    expect(small.annotations.map(({ text }: { text: string }) => text).slice(4)).toEqual(['rewards/&lt;a&gt;', 'only']);
    const rows = (layout: any) => ['', 2, 3, 4].map((n) => layout[`yaxis${n}`].domain.map((y: number) => (1 - y) * layout.height));
    for (const [i, [bottom, top]] of rows(small).entries())
      expect([bottom, top], 'those of every run are where they were').toEqual(rows(plain)[i].map((y: number) => expect.closeTo(y, 6)));
    expect(small.yaxis5.domain[1]).toBeLessThan(small.yaxis3.domain[0]);
  }
});

it('every line differs from every other in colour or dash, in both themes', () => {
  for (const dark of [false, true]) {
    const { traces } = draw(undefined, { theme: { ...theme, dark } });
    const colours = traces.slice(0, 3).map((trace) => trace.line?.color);
    expect(new Set(colours).size).toBe(3);
  }
});

it('markup in a payload stays text', () => {
  const run = runData({ events: [{ step: 1, kind: 'warning', text: 'a <a href="javascript:alert(1)">b</a> & c' }] });
  const { traces } = draw(run, { overlays: [run] });
  const events = traces.find(isMark)!;
  expect(events.text).toEqual(['a &lt;a href="javascript:alert(1)"&gt;b&lt;/a&gt; &amp; c']);
  expect(traces[0].name).toBe('&lt;script&gt;alert(1)&lt;/script&gt;');
});

it('whatever passes the schema can be drawn', () => {
  const random = Random.seeded(3);
  for (let i = 0; i < 5000; i++) {
    const run = parseRun(hostile(random, JSON.parse(JSON.stringify(runPayload(runData())))));
    if (typeof run === 'string') continue;
    const text = JSON.stringify(draw(run, { logScale: i % 2 === 0, ghost: run, overlays: [run] }));
    expect(text).not.toMatch(/:null,"(x|y)"/);
    expect(text.length).toBeLessThan(2e6);
  }
});
