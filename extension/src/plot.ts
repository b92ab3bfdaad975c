import { movingAverage, type Point, type RunPayload } from '@tunebook/views';
import Plotly from 'plotly.js-basic-dist-min';

const colour = (name: string, fallback: string) => getComputedStyle(document.body).getPropertyValue(name).trim() || fallback;

const trace = (points: readonly Point[], name: string, extra: object) => ({
  type: 'scatter',
  mode: 'lines',
  name,
  x: points.map((p) => p[0]),
  y: points.map((p) => p[1]),
  ...extra,
});

/** Losses on the upper axis, learning rate on the lower one. `uirevision` keeps zoom and pan across updates. */
export class Plot {
  constructor(private readonly node: HTMLElement) {}

  draw(run: RunPayload): void {
    const text = colour('--jp-ui-font-color1', '#222');
    const grid = colour('--jp-border-color2', '#ddd');
    const { loss, eval_loss, learning_rate } = run.series;
    const axis = { gridcolor: grid, linecolor: grid, zeroline: false };
    const traces = [
      trace(loss, 'training loss', { line: { color: '#9ecae1', width: 1.5 } }),
      trace(movingAverage(loss), 'moving average', { line: { color: colour('--jp-brand-color1', '#08519c'), width: 2.5 } }),
      trace(eval_loss, 'evaluation loss', { mode: 'lines+markers', line: { color: '#d94801', width: 2 }, marker: { size: 8 } }),
      trace(learning_rate, 'learning rate', { yaxis: 'y2', line: { color: '#31a354', width: 1.5 } }),
    ];
    const marks = run.events.filter((e) => e.kind !== 'epoch');
    traces.push({
      type: 'scatter',
      mode: 'markers',
      name: 'events',
      x: marks.map((e) => e.step),
      y: marks.map(() => 0.02),
      ...{
        yaxis: 'y3',
        text: marks.map((e) => e.text),
        hoverinfo: 'text',
        marker: { symbol: 'diamond', size: 8, color: text },
        showlegend: false,
      },
    });
    const layout = {
      height: 380,
      margin: { l: 56, r: 16, t: 8, b: 36 },
      paper_bgcolor: 'rgba(0,0,0,0)',
      plot_bgcolor: 'rgba(0,0,0,0)',
      font: { color: text, family: colour('--jp-ui-font-family', 'sans-serif'), size: 12 },
      legend: { orientation: 'h', y: 1.12 },
      hovermode: 'closest',
      uirevision: run.id,
      xaxis: { ...axis, title: { text: 'step' }, range: [0, Math.max(run.totalSteps, 1)], anchor: 'y2' },
      yaxis: { ...axis, title: { text: 'loss' }, domain: [0.36, 1] },
      yaxis2: { ...axis, title: { text: 'rate' }, domain: [0, 0.24], exponentformat: 'e', rangemode: 'tozero' },
      yaxis3: { domain: [0.36, 1], overlaying: 'y', range: [0, 1], visible: false, fixedrange: true },
    };
    void Plotly.react(this.node, traces, layout, { responsive: true, displaylogo: false });
  }

  dispose(): void {
    Plotly.purge(this.node);
  }
}
