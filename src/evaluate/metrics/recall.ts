import { AVERAGE_OPTIONS, averaged } from './labels';
import { metric } from './metric';

/** Of the rows that have a label, the share that was given it. Equal to scikit-learn's. */
export const recall = metric({
  description: 'Of the rows that have a label, the share that was given it.',
  inputs: ['predictions', 'references'],
  optional: ['sample_weight'],
  options: AVERAGE_OPTIONS,
  compute: (columns, options) => ({ recall: averaged('recall', columns, options) }),
});
