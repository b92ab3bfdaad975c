import { type ChartSpec, type ComparisonData, comparisonSpec, PAPER, type ServingData, servingSpec } from '../../views';
import { ChartThread } from './chart';

/** Charts of the library's figures, by what asks for them (`chart` of core's events). */
export const CHARTS: Record<string, (data: object) => ChartSpec> = {
  comparison: (data) => comparisonSpec(data as ComparisonData, PAPER),
  serving: (data) => servingSpec(data as ServingData, PAPER),
};

/** One chart as a PNG. */
export async function drawn(spec: ChartSpec): Promise<Buffer> {
  const thread = new ChartThread();
  try {
    return await thread.png(spec);
  } finally {
    await thread.end();
  }
}
