export {
  MAX_POINTS,
  type Point,
  parseRun,
  RUN_MIME,
  RUN_SCHEMA,
  RUN_SCHEMA_VERSION,
  type RunEvent,
  type RunPayload,
  SERIES,
  type SeriesName,
} from './run';
export { figure, movingAverage, thin } from './series';
export { runSvg } from './svg';
export { summary } from './table';
