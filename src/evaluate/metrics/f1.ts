import { AVERAGE_OPTIONS, averaged } from './labels';
import { metric } from './metric';

/** The harmonic mean of precision and recall. Equal to scikit-learn's. */
export const f1 = metric({
  description: 'The harmonic mean of precision and recall.',
  inputs: ['predictions', 'references'],
  optional: ['sample_weight'],
  options: AVERAGE_OPTIONS,
  compute: (columns, options) => ({ f1: averaged('f1', columns, options) }),
});
