export {
  ADAPTER_MIME,
  ADAPTER_SCHEMA,
  ADAPTER_SCHEMA_VERSION,
  type AdapterData,
  type AdapterModule,
  type AdapterMoment,
  type AdapterOverlap,
  type AdapterPayload,
  adapterPayload,
  condition,
  cumulativeEnergy,
  effectiveRank,
  isDense,
  kindsOf,
  type MergeCheck,
  moduleIn,
  parseAdapter,
  placeOf,
  sizeOf,
  stableRank,
  usedRank,
} from './adapter';
export {
  type AdapterTensor,
  inOrder,
  inspectFile,
  moduleOf,
  NO_BASE,
  notesOf,
  pairsOf,
  type SavedPair,
  scaleOf,
  tensorOf,
} from './adapter_file';
export { adapterCsv, adapterSummary, shapeOf } from './adapter_summary';
export { type ChartSpec, type ChartTheme, heatmapSpec, historySpec, normName, overlapSpec, PAPER, spectrumSpec } from './charts';
export { type ComparisonData, comparisonSpec } from './comparison';
export { EVENT_KINDS, eventKind } from './events';
export { betweenSpec, conditionSpec, layersSpec } from './expert_charts';
export { type LayersOverlap, layersOverlap, type NamedUpdate } from './layers';
export { ACTIONS, type Action, type Ask, type Known, type Live, RUN_COMM } from './live';
export {
  PREVIEW_MIME,
  PREVIEW_SCHEMA,
  PREVIEW_SCHEMA_VERSION,
  type PreviewData,
  type PreviewRow,
  parsePreview,
  previewPayload,
  SIGNS,
} from './preview';
export {
  BARS,
  parseQuantization,
  QUANTIZATION_MIME,
  QUANTIZATION_SCHEMA,
  QUANTIZATION_SCHEMA_VERSION,
  type QuantizationData,
  type QuantizationPayload,
  type QuantizedModule,
  quantizationPayload,
  quantizationRows,
  quantizationSummary,
  worstOf,
} from './quantization';
export { errorSpec, levelsSpec, quantizationSpec } from './quantization_charts';
export {
  otherSeries,
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
  type Series,
  type SeriesName,
  type Status,
  seriesOf,
  type Told,
  toldAll,
  withDelta,
} from './run';
export { savedRun } from './saved_run';
export { decodePoints, encodePoints, figure, MAX_POINTS, movingAverage, type Point, thin } from './series';
export { type ServingData, servingSpec } from './serving';
export { type LowRankUpdate, overlap, singularValues } from './spectrum';
export { runSvg } from './svg';
export {
  parseSweep,
  SWEEP_MIME,
  SWEEP_SCHEMA,
  type SweepData,
  type SweepRunData,
  sweepFigures,
  sweepPayload,
  sweepSentence,
  sweepSummary,
} from './sweep';
export { lookOf, sweepPicture, sweepSpec } from './sweep_charts';
export { differingOptions, latestSamples, runCsv, sampleRows, summary } from './table';
