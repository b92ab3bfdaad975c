import { AVERAGE_OPTIONS, averaged } from './labels';
import { metric } from './metric';

/** Of the rows that were given a label, the share that has it. Equal to scikit-learn's. */
export const precision = metric({
  description: 'Of the rows that were given a label, the share that has it.',
  inputs: ['predictions', 'references'],
  optional: ['sample_weight'],
  options: AVERAGE_OPTIONS,
  compute: (columns, options) => ({ precision: averaged('precision', columns, options) }),
});
