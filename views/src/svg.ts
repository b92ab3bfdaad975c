import { EVENT_KINDS, eventKind } from './events';
import { otherSeries, type RunData } from './run';
import { figure, movingAverage, type Point, thin } from './series';

const COLOURS = { loss: '#9ecae1', mean: '#08519c', eval: '#d94801', rate: '#31a354', memory: '#756bb1', text: '#222', grid: '#ddd' };

/** Round numbers between low and high, at most about `count` of them. */
export function ticks(low: number, high: number, count = 5): number[] {
  const span = high - low || 1;
  const raw = span / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw) ?? 10 * power;
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.max(0, Math.floor(high / step) - first + 1) }, (_, i) => (first + i) * step);
}

const escapeXml = (s: string) => s.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** Of what else a run measured, this many are drawn, each so high. */
const OTHERS = { most: 12, height: 90 };
const SIDES = { left: 56, right: 12 };
/** The signs of what happened at one step are piled up, so many of them. */
const PILE = 6;

/** What happened, as signs above the axis, and what they mean, in a line below `at`. */
function marks({ events }: RunData, x: (step: number) => number, bottom: number, at: number): string {
  const known = events.flatMap(({ kind }) => eventKind(kind) ?? []).filter((kind, i, all) => all.indexOf(kind) === i);
  const piles = new Map<number, number>();
  const signs = events.flatMap(({ step, kind: name }) => {
    const kind = eventKind(name);
    const column = Math.round(x(step) / 9);
    const level = piles.get(column) ?? 0;
    piles.set(column, level + 1);
    return kind && level < PILE
      ? [`<text x="${x(step).toFixed(1)}" y="${bottom - 4 - 11 * level}" text-anchor="middle">${EVENT_KINDS[kind].sign}</text>`]
      : [];
  });
  let left = SIDES.left;
  const key = known.map((kind) => {
    const { sign, name } = EVENT_KINDS[kind];
    const text = `<text x="${left}" y="${at}">${sign} ${name}</text>`;
    left += 26 + 6.5 * name.length;
    return text;
  });
  return signs.concat(key).join('');
}

/**
 * The run as a picture: losses with what happened above, learning rate and memory below, and what else was measured under these. For notebooks
 * that are read without the extension.
 */
export function runSvg(run: RunData, width = 720, upper = 470): string {
  const others = otherSeries(run).slice(0, OTHERS.most);
  const height = upper + OTHERS.height * others.length;
  const { left, right } = SIDES;
  const steps = Math.max(run.totalSteps, 1);
  const x = (step: number) => left + ((width - left - right) * step) / steps;
  const panel = (
    top: number,
    bottom: number,
    lines: { points: Point[]; colour: string; width: number; dots?: boolean }[],
    label: string,
  ) => {
    const values = lines.flatMap((l) => l.points.map((p) => p[1]));
    if (!values.length) return '';
    let low = Math.min(...values);
    let high = Math.max(...values);
    if (low === high) [low, high] = [low - 1, high + 1];
    const y = (v: number) => bottom - ((bottom - top) * (v - low)) / (high - low);
    const grid = ticks(low, high, bottom - top > 100 ? 5 : 3).map(
      (v) =>
        `<line x1="${left}" x2="${width - right}" y1="${y(v)}" y2="${y(v)}" stroke="${COLOURS.grid}"/><text x="${left - 6}" y="${y(v) + 4}" text-anchor="end">${figure(v)}</text>`,
    );
    const drawn = lines.map(({ points, colour, width: w, dots }) => {
      const path = points.map((p) => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`).join(' ');
      const marks = dots
        ? points.map((p) => `<circle cx="${x(p[0]).toFixed(1)}" cy="${y(p[1]).toFixed(1)}" r="3.5" fill="${colour}"/>`).join('')
        : '';
      return `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="${w}"/>${marks}`;
    });
    return `${grid.join('')}${drawn.join('')}<text x="${left}" y="${top - 6}">${label}</text>`;
  };
  const { loss, eval_loss, learning_rate, resident_bytes } = run.series;
  // A picture shows no more than this; the payload beside it does.
  const few = (points: Point[]) => thin(points, 300);
  const [split, second] = [0.56, 0.79].map((part) => Math.round(upper * part));
  const gib = (points: Point[]) => points.map(([step, bytes]): Point => [step, bytes / 2 ** 30]);
  const { machineBytes } = run.memory;
  const machine = machineBytes ? ` (the machine has ${figure(machineBytes / 2 ** 30)})` : '';
  const stepTicks = ticks(0, steps, 8).map((s) => `<text x="${x(s)}" y="${height - 6}" text-anchor="middle">${s}</text>`);
  const key = [
    ['training loss', COLOURS.loss],
    ['moving average', COLOURS.mean],
    ['evaluation loss', COLOURS.eval],
    ['learning rate', COLOURS.rate],
  ].map(
    ([name, colour], i) =>
      `<rect x="${left + i * 150}" y="8" width="14" height="4" fill="${colour}"/><text x="${left + 20 + i * 150}" y="14">${name}</text>`,
  );
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="DejaVu Sans" font-size="11" fill="${COLOURS.text}">` +
    `<title>${escapeXml(run.name)}</title><rect width="${width}" height="${height}" fill="#fff"/>${key.join('')}` +
    panel(
      54,
      split,
      [
        { points: few(loss), colour: COLOURS.loss, width: 1.5 },
        { points: few(movingAverage(loss)), colour: COLOURS.mean, width: 2 },
        { points: few(eval_loss), colour: COLOURS.eval, width: 2, dots: true },
      ],
      'loss',
    ) +
    marks(run, x, split, 30) +
    panel(split + 28, second, [{ points: few(learning_rate), colour: COLOURS.rate, width: 1.5 }], 'learning rate') +
    panel(
      second + 28,
      upper - 24,
      [{ points: few(gib(resident_bytes)), colour: COLOURS.memory, width: 1.5 }],
      `resident memory, GiB${machine}`,
    ) +
    others
      .map(({ name, points, evaluated }, i) =>
        panel(
          upper + OTHERS.height * i,
          upper + OTHERS.height * (i + 1) - 34,
          [
            { points: few(points), colour: COLOURS.mean, width: 1.5 },
            { points: few(evaluated), colour: COLOURS.eval, width: 2, dots: true },
          ],
          escapeXml(name),
        ),
      )
      .join('') +
    `${stepTicks.join('')}</svg>`
  );
}
