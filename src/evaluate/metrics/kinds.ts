// The metrics: one line each.
export { accuracy } from './accuracy';
export { sacrebleu } from './bleu';
export { brier_score, calibration_error } from './calibration';
export { confusion_matrix } from './confusion_matrix';
export { exact_match } from './exact_match';
export { f1 } from './f1';
export { matthews_correlation } from './matthews_correlation';
export { precision } from './precision';
export { recall } from './recall';
export { roc_auc } from './roc_auc';
export { rouge } from './rouge';
export { squad } from './squad';
