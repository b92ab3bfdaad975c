export { ACTIONS, type Action, type Ask, type Live, RUN_COMM } from './live';
export {
  parseRun,
  RUN_MIME,
  RUN_SCHEMA,
  RUN_SCHEMA_VERSION,
  type RunData,
  type RunDelta,
  type RunEvent,
  type RunPayload,
  runDelta,
  runPayload,
  type Sample,
  SERIES,
  type SeriesName,
  type Status,
  type Told,
  toldAll,
  withDelta,
} from './run';
export { decodePoints, encodePoints, figure, MAX_POINTS, movingAverage, type Point, thin } from './series';
export { runSvg } from './svg';
export { runCsv, summary } from './table';
