import type { ChartSpec } from '@tunebook/views';
import { element } from '../dom';
import type { Chart } from './chart';

/** A chart's place: its name for those who do not see it, and the chart once it is loaded. */
export class Place {
  readonly node = element('div', { className: 'tunebook-chart', tabIndex: 0 });
  private chart: Promise<Chart> | undefined;

  async draw(label: string, spec: ChartSpec, click?: (datum: Record<string, unknown>) => void): Promise<void> {
    this.chart ??= import('./chart').then(({ Chart }) => new Chart(this.node));
    await (await this.chart).draw(label, spec, click);
  }

  async png(): Promise<Blob | undefined> {
    return (await this.chart)?.png();
  }

  dispose(): void {
    void this.chart?.then(
      (chart) => chart.dispose(),
      () => {},
    );
  }
}
