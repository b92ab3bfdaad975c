import { eventKind, type RunData } from '@tunebook/views';
import { type FigureOptions, plain, SIDES } from './figure';

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

/** A marker takes so many pixels; so many are piled up at most. */
const MARK = { size: 12, most: 8 };

interface Mark {
  step: number;
  kind: string;
  level: number;
  texts: string[];
}

/** Where each event stands: what would lie over something else lies above it, and each tells all that its step has. */
function marksOf({ events, totalSteps }: RunData, width: number): Mark[] {
  const perStep = (width - SIDES.l - SIDES.r) / Math.max(totalSteps, 1);
  const texts = new Map<number, string[]>();
  for (const { step, text } of events) texts.set(step, [...(texts.get(step) ?? []), wrap(text)]);
  const ends: number[] = [];
  const marks: Mark[] = [];
  for (const { step, kind, text } of [...events].sort((a, b) => a.step - b.step)) {
    const x = step * perStep;
    const free = ends.findIndex((end) => x - end >= MARK.size);
    const level = free < 0 ? ends.length : free;
    // No room for another: the last one tells of it too.
    if (level >= MARK.most) marks[marks.length - 1].texts.push(wrap(text));
    else {
      ends[level] = x;
      marks.push({ step, kind, level, texts: [...(texts.get(step) ?? [])] });
    }
  }
  return marks;
}

/** What happened, by the steps: a line of the legend for each kind. */
export function eventMarks(run: RunData, { theme, words, width }: FigureOptions): object[] {
  const marks = marksOf(run, width);
  const names = new Map<string, Mark[]>();
  for (const mark of marks) {
    const kind = eventKind(mark.kind);
    const name = kind ? words.kinds[kind] : words.events;
    names.set(name, [...(names.get(name) ?? []), mark]);
  }
  return [...names].map(([name, list]) => ({
    type: 'scatter',
    mode: 'markers',
    name,
    x: list.map(({ step }) => step),
    y: list.map(({ level }) => 0.03 + 0.06 * level),
    yaxis: 'y2',
    text: list.map(({ texts }) => [...new Set(texts)].slice(-12).join('<br>')),
    hovertemplate: '%{text}<extra></extra>',
    marker: {
      symbol: SYMBOLS[list[0].kind] ?? 'circle',
      size: 10,
      color: theme.text,
      line: { width: 1, color: theme.text },
    },
    cliponaxis: false,
  }));
}
