import { BestMetricCallback } from './best_metric';
import type { TrainerCallback } from './callback';
import { CheckpointLimitCallback } from './checkpoint_limit';
import { DefaultFlowCallback } from './default_flow';
import { JsonLinesCallback } from './jsonl';
import { OverfittingCallback } from './overfitting';
import { ProgressCallback } from './progress';
import { PushCallback } from './push';
import { SamplesCallback } from './samples';
import * as trackers from './trackers';

/** The callbacks of every run: before the user's, which may then ask for more, and after them. */
const FIRST = [DefaultFlowCallback];
const LAST = [
  SamplesCallback,
  BestMetricCallback,
  OverfittingCallback,
  CheckpointLimitCallback,
  ProgressCallback,
  PushCallback,
  JsonLinesCallback,
];

export type TrackerName = keyof typeof trackers;
/** `atHand`: whether what it needs is there, for 'all'; without it nothing is needed. */
export const TRACKERS: Record<string, (new () => TrainerCallback) & { atHand?: () => boolean }> = { ...trackers };

/** The trackers that `report_to` names: one, several, or 'all' that can be used here; [] or 'none' are none. */
export const namedTrackers = (report_to: string | string[]): string[] =>
  report_to === 'all'
    ? Object.keys(TRACKERS).filter((name) => TRACKERS[name].atHand?.() ?? true)
    : [report_to].flat().filter((name) => name !== 'none');

export const firstCallbacks = (report_to: string | string[]): TrainerCallback[] =>
  [...FIRST, ...namedTrackers(report_to).map((name) => TRACKERS[name])].map((kind) => new kind());
export const lastCallbacks = (): TrainerCallback[] => LAST.map((kind) => new kind());
