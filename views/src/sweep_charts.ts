import { type ChartSpec, type ChartTheme, chart, clamp, panels } from './charts';
import { movingAverage, thin } from './series';
import type { SweepData, SweepRunData } from './sweep';

/** Okabe and Ito's colours, told apart with any kind of colour vision; the runs behind the eighth are dashed. */
const COLOURS = ['#0072b2', '#e69f00', '#009e73', '#d55e00', '#56b4e9', '#cc79a7', '#999999', '#b3a100'];
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];

/** How a run's curves are drawn: its colour and its dashes. */
export const lookOf = (i: number): { colour: string; dash: number[] } => ({
  colour: COLOURS[i % COLOURS.length],
  dash: DASHES[Math.floor(i / COLOURS.length) % DASHES.length],
});

/** One curve for each run; a click on one selects it. */
function curvesSpec(
  runs: readonly SweepRunData[],
  which: 'loss' | 'eval_loss',
  title: string,
  selected: string | undefined,
  width: number,
): ChartSpec {
  const drawn = runs.map((run) => (which === 'loss' ? movingAverage(run.loss) : run.eval_loss));
  const values = drawn.flatMap((curve, i) =>
    thin(curve, 300).map(([step, loss]) => ({ run: runs[i].name, step, loss, chosen: runs[i].name === selected })),
  );
  const names = runs.map(({ name }) => name);
  const looks = names.map((_, i) => lookOf(i));
  const field = (name: string, type: string, more = {}) => ({ field: name, type, ...more });
  const encoding = {
    x: field('step', 'quantitative', { title: 'step', axis: { tickMinStep: 1, format: 'd' } }),
    y: field('loss', 'quantitative', { title, scale: { zero: false } }),
    color: field('run', 'nominal', { scale: { domain: names, range: looks.map(({ colour }) => colour) }, legend: null }),
    strokeDash: field('run', 'nominal', {
      scale: { domain: names, range: looks.map(({ dash }) => (dash.length ? dash : [1, 0])) },
      legend: null,
    }),
    tooltip: [field('run', 'nominal'), field('step', 'quantitative'), field('loss', 'quantitative', { title, format: '.4~g' })],
  };
  const strokeWidth = { condition: { test: 'datum.chosen', value: 4 }, value: 1.8 };
  return {
    width,
    height: 240,
    data: { values },
    encoding,
    layer: [
      { mark: { type: 'line', cursor: 'pointer' }, encoding: { strokeWidth, detail: field('run', 'nominal') } },
      ...(which === 'eval_loss' ? [{ mark: { type: 'point', filled: true, size: 40, cursor: 'pointer' } }] : []),
      // What is near a line is as good as the line itself.
      { mark: { type: 'point', filled: true, opacity: 0, size: 120, cursor: 'pointer', tooltip: true } },
    ],
  };
}

/** Losses of all runs in one picture, those of evaluations beside them where there are some. */
export function sweepSpec(
  sweep: SweepData,
  theme: ChartTheme,
  { selected, width = 1000 }: { selected?: string; width?: number } = {},
): ChartSpec {
  const evaluated = sweep.runs.some(({ eval_loss }) => eval_loss.length);
  const { concat } = panels(width);
  const each = evaluated && concat === 'hconcat' ? clamp((width - 190) / 2, 190, 700) : clamp(width - 90, 160, 1100);
  const title = 'training loss (moving average)';
  const training = curvesSpec(sweep.runs, 'loss', title, selected, each);
  if (!evaluated) return chart(theme, training);
  return chart(theme, { [concat]: [training, curvesSpec(sweep.runs, 'eval_loss', 'evaluation loss', selected, each)], spacing: 24 });
}

/** The picture for readers without the extension: the same with a key. */
export function sweepPicture(sweep: SweepData, theme: ChartTheme): ChartSpec {
  const { runs, best } = sweep;
  const names = runs.map(({ name }) => name);
  const spec = sweepSpec(sweep, theme, { selected: best === null ? undefined : names[best] });
  const key = {
    data: { values: names.map((run, i) => ({ run, i, said: i === best ? `${run} (best)` : run })) },
    height: { step: 15 },
    width: 20,
    mark: { type: 'rect', height: 4 },
    encoding: {
      y: {
        field: 'said',
        type: 'nominal',
        sort: { field: 'i' },
        title: null,
        axis: { labelLimit: 0, orient: 'right', domain: false, ticks: false },
      },
      color: { field: 'run', type: 'nominal', scale: { domain: names, range: names.map((_, i) => lookOf(i).colour) }, legend: null },
    },
  };
  const { $schema, config, ...body } = spec;
  return chart(theme, { vconcat: [body, key], spacing: 12 });
}
