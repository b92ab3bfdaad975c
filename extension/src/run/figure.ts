import { figure as digits, movingAverage, type Point, type RunData, type SeriesName } from '@tunebook/views';

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
export type Words = Record<SeriesName | 'mean' | 'step' | 'machine' | 'events' | 'before', string>;

export interface Figure {
  traces: object[];
  layout: object;
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

const SYMBOLS: Record<string, string> = {
  checkpoint: 'diamond',
  epoch: 'line-ns-open',
  paused: 'square',
  resumed: 'triangle-right',
  learning_rate: 'star',
  overfitting: 'triangle-up',
  nan: 'x',
  warning: 'triangle-down',
  stopped: 'square-cross',
  failed: 'x',
};

/** Plotly reads some markup in texts: a payload's shall stay what they are. */
const plain = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

const wrap = (text: string, width = 60): string =>
  text
    .split(/\s+/)
    .reduce<string[]>((lines, word) => {
      const last = lines.at(-1);
      if (last !== undefined && last.length + word.length < width) lines[lines.length - 1] = `${last} ${word}`;
      else lines.push(word.slice(0, 200));
      return lines;
    }, [])
    .slice(0, 12)
    .map(plain)
    .join('<br>');

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

/** The plot of a run: losses with everything that happened, and below them rate, gradient norm, speed and memory. */
export function figure(run: RunData, options: FigureOptions): Figure {
  const { theme, words, ghost, overlays } = options;
  const colours = palette(theme.dark);
  const { loss, eval_loss, learning_rate, grad_norm, tokens_per_second, resident_bytes } = run.series;
  const mean = (points: readonly Point[]) => (options.smoothing > 0 ? movingAverage(points, options.smoothing) : [...points]);
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
    }),
    {
      type: 'scatter',
      mode: 'markers',
      name: words.events,
      x: run.events.map((e) => e.step),
      y: run.events.map(() => 0.03),
      yaxis: 'y6',
      text: run.events.map((e) => wrap(e.text)),
      hovertemplate: '%{text}<extra></extra>',
      marker: {
        symbol: run.events.map((e) => SYMBOLS[e.kind] ?? 'circle'),
        size: 10,
        color: theme.text,
        line: { width: 1, color: theme.text },
      },
      showlegend: false,
    },
  );
  const memory = resident_bytes.map(([step, bytes]): Point => [step, bytes / 2 ** 30]);
  const small: [SeriesName, readonly Point[], string][] = [
    ['learning_rate', learning_rate, colours.rate],
    ['grad_norm', grad_norm, colours.norm],
    ['tokens_per_second', tokens_per_second, colours.speed],
    ['resident_bytes', memory, colours.memory],
  ];
  for (const [i, [name, points, color]] of small.entries())
    traces.push(line(points, words[name], { xaxis: `x${i + 2}`, yaxis: `y${i + 2}`, line: { color, width: 1.5 }, showlegend: false }));
  const machine = run.memory.machineBytes / 2 ** 30;
  if (machine > 0 && machine < 1e6 && memory.length)
    traces.push(
      line(
        [
          [0, machine],
          [Math.max(run.totalSteps, 1), machine],
        ],
        `${words.machine}: ${digits(machine)} GiB`,
        {
          ...{ xaxis: 'x5', yaxis: 'y5', line: { color: theme.text, width: 1, dash: 'dot' }, showlegend: false },
        },
      ),
    );
  return {
    traces,
    layout: layout(
      run,
      options,
      small.map(([name]) => words[name]),
    ),
  };
}

function layout(run: RunData, { theme, width, logScale, words }: FigureOptions, titles: string[]): object {
  const axis = { gridcolor: theme.grid, linecolor: theme.grid, zeroline: false, automargin: false };
  const steps = [0, Math.max(run.totalSteps, 1)];
  const columns = width >= 620 ? 4 : 2;
  const rows = 4 / columns;
  const gap = columns === 4 ? 0.075 : 0.14;
  const span = (1 - gap * (columns - 1)) / columns;
  const top = rows === 1 ? 0.42 : 0.5;
  const high = rows === 1 ? 0.22 : 0.13;
  const axes: Record<string, object> = {};
  const annotations: object[] = [];
  for (let i = 0; i < 4; i++) {
    const left = (i % columns) * (span + gap);
    const bottom = rows === 1 ? 0 : i < 2 ? 0.24 : 0;
    axes[`xaxis${i + 2}`] = {
      ...axis,
      ...{ domain: [left, left + span], anchor: `y${i + 2}`, range: steps, matches: 'x', nticks: 4, tickfont: { size: 10 } },
    };
    axes[`yaxis${i + 2}`] = {
      ...axis,
      ...{
        domain: [bottom, bottom + high],
        anchor: `x${i + 2}`,
        rangemode: 'tozero',
        nticks: 4,
        tickfont: { size: 10 },
        exponentformat: 'e',
      },
    };
    annotations.push({
      text: titles[i],
      ...{
        x: left,
        y: bottom + high + 0.005,
        xref: 'paper',
        yref: 'paper',
        xanchor: 'left',
        yanchor: 'bottom',
        showarrow: false,
        font: { size: 11 },
      },
    });
  }
  return {
    height: 420,
    margin: { l: 52, r: 12, t: 8, b: 24 },
    paper_bgcolor: 'rgba(0,0,0,0)',
    plot_bgcolor: 'rgba(0,0,0,0)',
    font: { color: theme.text, family: theme.font, size: 12 },
    legend: { orientation: 'h', y: 1.1, yanchor: 'top', bgcolor: 'rgba(0,0,0,0)' },
    hovermode: 'x',
    hoverlabel: { align: 'left', namelength: -1 },
    // What the reader zoomed stays while points arrive; another kind of axis starts afresh.
    uirevision: run.id,
    dragmode: 'zoom',
    xaxis: { ...axis, domain: [0, 1], anchor: 'y', range: steps, title: { text: rows === 1 ? words.step : '', standoff: 4 } },
    yaxis: {
      ...axis,
      title: { text: words.loss, standoff: 4 },
      domain: [top, 0.97],
      type: logScale && positive(run) ? 'log' : 'linear',
      uirevision: `${run.id} ${logScale}`,
    },
    yaxis6: { domain: [top, 0.97], overlaying: 'y', range: [0, 1], visible: false, fixedrange: true },
    ...axes,
    annotations,
  };
}
