import { dirname, join } from 'node:path';
import { Resvg } from '@resvg/resvg-js';
import { RUN_MIME, RUN_SCHEMA_VERSION, type RunPayload, runSvg, summary, thin } from '../../views';
import { escapeHtml } from '../core/html';
import type { Run } from '../train/run';
import { type Bundle, Display } from './display';

export function runPayload(run: Run): RunPayload {
  const series = Object.fromEntries(
    Object.entries(run.series).map(([name, points]) => [name, thin(points.filter(([, value]) => Number.isFinite(value)))]),
  ) as RunPayload['series'];
  const { id, name, status, startedAt, step, totalSteps, config, memory } = run;
  return {
    schemaVersion: RUN_SCHEMA_VERSION,
    id,
    name: name.slice(0, 500),
    status,
    startedAt,
    updatedAt: new Date().toISOString(),
    step,
    totalSteps,
    config,
    series,
    events: run.events.slice(-1000).map((e) => ({ ...e, text: e.text.slice(0, 2000) })),
    checkpoints: run.checkpoints.slice(-1000),
    memory,
  };
}

/** The picture for readers without the extension. */
export function runPng(payload: RunPayload): Buffer {
  const fonts = join(dirname(require.resolve('dejavu-fonts-ttf/package.json')), 'ttf', 'DejaVuSans.ttf');
  const image = new Resvg(runSvg(payload), {
    font: { fontFiles: [fonts], loadSystemFonts: false, defaultFontFamily: 'DejaVu Sans' },
    fitTo: { mode: 'zoom', value: 1.5 },
  });
  return Buffer.from(image.render().asPng());
}

/** One output for all readers: our view, a table with the picture in it, the picture, text. */
export function runBundle(payload: RunPayload, picture?: Buffer): Bundle {
  const rows = summary(payload);
  const png = picture?.toString('base64');
  const image = png ? `<img alt="Loss of the run ${escapeHtml(payload.name)}" width="720" src="data:image/png;base64,${png}">` : '';
  return {
    [RUN_MIME]: payload,
    'text/html': `${image}<table>${rows.map(([label, value]) => `<tr><th style="text-align:left">${escapeHtml(label)}</th><td style="text-align:left">${escapeHtml(value)}</td></tr>`).join('')}</table>`,
    ...(png ? { 'image/png': png } : {}),
    'text/plain': [`Run ${payload.name}`, ...rows.map(([label, value]) => `${label}: ${value}`)].join('\n'),
  };
}

/** Shows runs under their cells: at most one snapshot a second, the picture once at the end. */
export class RunViews {
  private readonly views = new WeakMap<object, { display: Display; last: number }>();

  update(run: Run, what: string): void {
    let view = this.views.get(run);
    if (!view) {
      view = { display: new Display(`tunebook-run-${run.id}`), last: 0 };
      this.views.set(run, view);
    }
    const now = performance.now();
    if (what === 'step' && now - view.last < 1000) return;
    view.last = now;
    const payload = runPayload(run);
    view.display.show(runBundle(payload, what === 'end' ? runPng(payload) : undefined));
  }
}
