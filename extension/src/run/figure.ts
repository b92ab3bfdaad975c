import {
  figure as digits,
  type EVENT_KINDS,
  movingAverage,
  otherSeries,
  type Point,
  type RunData,
  type SeriesName,
  thin,
} from '@tunebook/views';
import { eventMarks } from './events';

/** Colours of the page, and whether it is dark. */
export interface Theme {
  text: string;
  grid: string;
  font: string;
  dark: boolean;
}

export interface FigureOptions {
  smoothing: number;
  logScale: boolean;
  /** Pixels. */
  width: number;
  theme: Theme;
  /** Drawn faintly behind: the run before. */
  ghost?: RunData;
  /** Other runs, as lines of their own. */
  overlays: readonly RunData[];
  words: Words;
}

/** What the plot says, in the reader's language. */
export interface Words extends Record<SeriesName | 'mean' | 'evaluated' | 'step' | 'machine' | 'events' | 'before', string> {
  kinds: Record<keyof typeof EVENT_KINDS, string>;
}

/** How a series is called: in the reader's language where it is one that every run has. */
export const nameOf = (name: string, words: Words): string =>
  Object.hasOwn(words, name) && name !== 'kinds' ? words[name as SeriesName] : name;

export interface Figure {
  traces: object[];
  layout: Record<string, unknown>;
  /** Pixels from the top to plotly's tools: they lie beside the legend or, for want of room, in the plot's corner. */
  tools?: number;
}

/** What is drawn of a run. Two plots: each is drawn in a turn of its own, so that the page is not held up. */
export interface Figures {
  /** Losses with everything that happened. */
  main: Figure;
  /** Rate, gradient norm, speed, memory and what else was measured; their axes follow the main one's. */
  small: Figure;
}

/** Okabe and Ito's colours, told apart with any kind of colour vision; lightened where the page is dark. */
const palette = (dark: boolean) => ({
  loss: dark ? '#3f7fa6' : '#9ecae1',
  mean: dark ? '#56b4e9' : '#0072b2',
  eval: dark ? '#ff9e57' : '#d55e00',
  rate: dark ? '#2fd1a0' : '#009e73',
  norm: dark ? '#e6a3c8' : '#b14f8f',
  speed: dark ? '#f0b93a' : '#9a6a00',
  memory: dark ? '#56b4e9' : '#0072b2',
  others: dark ? ['#f0e442', '#e6a3c8', '#2fd1a0', '#f0b93a'] : ['#b14f8f', '#9a6a00', '#009e73', '#6b6b00'],
});

/** Plotly reads some markup in texts: a payload's shall stay what they are. */
export const plain = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** Pixels beside the plots. */
export const SIDES = { l: 52, r: 12 };

const line = (points: readonly Point[], name: string, extra: object) => ({
  type: 'scatter',
  mode: 'lines',
  name,
  x: points.map((p) => p[0]),
  y: points.map((p) => p[1]),
  hovertemplate: '%{y:.5~g}',
  ...extra,
});

/** Whether the loss can be drawn on a logarithmic axis. */
const positive = (run: RunData) => [...run.series.loss, ...run.series.eval_loss].every(([, value]) => value > 0);

/** The plots of a run. */
export function figures(run: RunData, options: FigureOptions): Figures {
  return { main: losses(run, options), small: rates(run, options) };
}

function losses(run: RunData, options: FigureOptions): Figure {
  const { theme, words, ghost, overlays } = options;
  const colours = palette(theme.dark);
  const { loss, eval_loss } = run.series;
  // A smooth line needs fewer points than a raw one, and a small plot has fewer pixels: drawing them all would hold up the page.
  const mean = (points: readonly Point[]) => thin(options.smoothing > 0 ? movingAverage(points, options.smoothing) : points, 400);
  const traces: object[] = [];
  if (ghost)
    traces.push(
      line(mean(ghost.series.loss), `${words.before}: ${plain(ghost.name)}`, {
        line: { color: theme.text, width: 1.5, dash: 'dot' },
        opacity: 0.35,
      }),
    );
  for (const [i, other] of overlays.entries()) {
    const color = colours.others[i % colours.others.length];
    traces.push(line(mean(other.series.loss), plain(other.name), { line: { color, width: 1.5, dash: 'dash' } }));
  }
  traces.push(
    line(loss, words.loss, { line: { color: colours.loss, width: 1.25 } }),
    line(mean(loss), words.mean, { line: { color: colours.mean, width: 2.5 } }),
    line(eval_loss, words.eval_loss, {
      mode: 'lines+markers',
      line: { color: colours.eval, width: 2 },
      marker: { size: 8, symbol: 'circle' },
      cliponaxis: false, // the last point lies on the edge
    }),
    ...eventMarks(run, options),
  );
  return {
    traces,
    ...lossLayout(
      run,
      options,
      (traces as { name: string }[]).map(({ name }) => name),
    ),
  };
}

const base = ({ theme, width }: FigureOptions, run: RunData) => ({
  width: Math.max(width, 200),
  paper_bgcolor: 'rgba(0,0,0,0)',
  plot_bgcolor: 'rgba(0,0,0,0)',
  font: { color: theme.text, family: theme.font, size: 12 },
  // What the reader zoomed stays while points arrive.
  uirevision: run.id,
});

const axisStyle = ({ grid }: Theme) => ({ gridcolor: grid, linecolor: grid, zeroline: false, automargin: false });
const stepsOf = (run: RunData) => [0, Math.max(run.totalSteps, 1)];
const isWide = ({ width }: FigureOptions) => width >= 620;

/** Pixels of the main plot under one line of legend, and of a row of small plots. */
const HEIGHTS = { main: 285, row: 135, narrowRow: 92, line: 19 };

/** What stands above the main plot: the legend, in as many lines as it takes, and whether there is room for plotly's tools beside it. */
function heading(names: readonly string[], width: number): { beside: boolean; lines: number } {
  const widths = names.map((name) => 46 + 6.6 * name.length);
  const room = Math.max(width, 200) - SIDES.l - SIDES.r;
  const whole = widths.reduce((sum, one) => sum + one, 0);
  const columns = whole <= room ? names.length : Math.max(1, Math.floor(room / Math.max(...widths)));
  return { beside: whole + 150 <= room, lines: Math.ceil(names.length / columns) };
}

function lossLayout(run: RunData, options: FigureOptions, names: string[]): Pick<Figure, 'layout' | 'tools'> {
  const { theme, logScale, words } = options;
  const axis = axisStyle(theme);
  const type = logScale && positive(run) ? 'log' : 'linear';
  const { beside, lines } = heading(names, options.width);
  const above = HEIGHTS.line * (lines - 1);
  const height = HEIGHTS.main + above;
  const top = 32 + above;
  const layout = {
    ...base(options, run),
    height,
    margin: { ...SIDES, t: top, b: isWide(options) ? 38 : 22 },
    legend: { orientation: 'h', x: 0, yref: 'container', y: 1 - 4 / height, yanchor: 'top', bgcolor: 'rgba(0,0,0,0)' },
    modebar: { bgcolor: theme.dark ? 'rgba(17,17,17,0.85)' : 'rgba(255,255,255,0.85)' },
    hovermode: 'x',
    hoverlabel: { align: 'left', namelength: -1 },
    dragmode: 'zoom',
    xaxis: { ...axis, range: stepsOf(run), title: { text: isWide(options) ? words.step : '', standoff: 4 } },
    // Another kind of axis starts afresh.
    yaxis: { ...axis, title: { text: words.loss, standoff: 4 }, type, uirevision: `${run.id} ${type}` },
    yaxis2: { overlaying: 'y', range: [0, 1], visible: false, fixedrange: true },
  };
  return { layout, tools: beside ? 0 : top };
}

function rates(run: RunData, options: FigureOptions): Figure {
  const { words } = options;
  const colours = palette(options.theme.dark);
  const { learning_rate, grad_norm, tokens_per_second, resident_bytes } = run.series;
  const memory = resident_bytes.map(([step, bytes]): Point => [step, bytes / 2 ** 30]);
  const machine = run.memory.machineBytes / 2 ** 30;
  const whole = machine > 0 && machine < 1e6 ? ` ${words.machine} ${digits(machine)}` : '';
  const small: { title: string; points: readonly Point[]; color: string; evaluated?: readonly Point[] }[] = [
    { title: words.learning_rate, points: learning_rate, color: colours.rate },
    { title: words.grad_norm, points: grad_norm, color: colours.norm },
    { title: words.tokens_per_second, points: tokens_per_second, color: colours.speed },
    { title: `${words.resident_bytes}${whole}`, points: memory, color: colours.memory },
    ...otherSeries(run).map(({ name, ...other }) => ({ title: plain(name), color: colours.mean, ...other })),
  ];
  const numbered = (i: number) => ({ xaxis: `x${i || ''}`, yaxis: `y${i || ''}`, showlegend: false });
  const at = (i: number) => numbered(i ? i + 1 : 0);
  // A small plot has few pixels: drawing all points would hold up the page.
  const traces: object[] = small.flatMap(({ title, points, color, evaluated = [] }, i) => [
    ...(points.length || !evaluated.length ? [line(thin(points, 240), title, { ...at(i), line: { color, width: 1.5 } })] : []),
    ...(evaluated.length
      ? [
          line(thin(evaluated, 240), `${title}: ${words.evaluated}`, {
            ...at(i),
            mode: 'lines+markers',
            line: { color: colours.eval, width: 1.5 },
          }),
        ]
      : []),
  ]);
  const { axes, annotations, height } = grid(
    small.map(({ title }) => title),
    run,
    options,
  );
  // Memory moves far above zero.
  const levels = memory.map(([, gib]) => gib);
  const [low, high] = [Math.min(...levels), Math.max(...levels)];
  const margin = Math.max((high - low) * 0.1, high * 0.01, 1e-3);
  if (levels.length) axes.yaxis4 = { ...axes.yaxis4, range: [Math.max(0, low - margin), high + margin], rangemode: 'normal' };
  return {
    traces,
    layout: {
      ...base(options, run),
      ...axes,
      height,
      margin: { ...SIDES, t: 0, b: 0 },
      hovermode: 'x',
      dragmode: false,
      annotations,
    },
  };
}

/** Axes and titles of the small plots: rows of four; in narrower places of two, or each in its own. */
function grid(titles: string[], run: RunData, options: FigureOptions) {
  const { theme, width } = options;
  const wide = isWide(options);
  const columns = wide ? 4 : width >= 360 ? 2 : 1;
  const gap = wide ? 0.075 : 0.16;
  const span = (1 - gap * (columns - 1)) / columns;
  const row = wide ? HEIGHTS.row : HEIGHTS.narrowRow;
  const height = row * Math.ceil(titles.length / columns);
  const axes: Record<string, object> = {};
  const annotations: object[] = [];
  for (const [i, text] of titles.entries()) {
    const left = (i % columns) * (span + gap);
    const from = row * Math.floor(i / columns);
    const [bottom, top] = [from + row - 20, from + 18].map((y) => 1 - y / height);
    const number = i ? i + 1 : '';
    const style = { ...axisStyle(theme), nticks: 4, tickfont: { size: 10 }, fixedrange: true };
    axes[`xaxis${number}`] = { ...style, domain: [left, left + span], anchor: `y${number}`, range: stepsOf(run) };
    axes[`yaxis${number}`] = { ...style, domain: [bottom, top], anchor: `x${number}`, rangemode: 'tozero', exponentformat: 'e' };
    const place = { x: left, y: top + 1 / height, xref: 'paper', yref: 'paper', xanchor: 'left', yanchor: 'bottom' };
    annotations.push({ text, ...place, showarrow: false, font: { size: wide ? 11 : 10 } });
  }
  return { axes, annotations, height };
}

/** Pixels that both plots take. */
export const heightOf = ({ main, small }: Figures): number => (main.layout.height as number) + (small.layout.height as number);
