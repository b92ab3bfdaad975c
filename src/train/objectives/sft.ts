import { labelCount, textsOf } from '../../data/collate';
import type { Example } from '../../data/sft';
import { meanLoss } from '../../evaluate/loss';
import type { CausalLM } from '../../models/causal_lm';
import { baseOf, type PeftModel } from '../../peft/model';
import type { Objective } from '../objective';
import { HeadFigures, labelsOf, logitsOf, TEXT_FIGURES } from './figures';

/** Supervised fine-tuning: the cross-entropy of the trained tokens, each counting alike. */
export const sft: Objective<Example, CausalLM | PeftModel<CausalLM>> = {
  texts: textsOf,
  weight: labelCount,
  predict: logitsOf,
  labels: labelsOf,
  figures: TEXT_FIGURES,
  loss(model, { ids, positions, labels }, { factor, smoothing, forward }) {
    const head = new HeadFigures();
    const loss = baseOf<CausalLM>(model).loss(ids, positions, labels, factor, { ...forward, smoothing, figures: head.figures });
    return { loss, metrics: head.metrics(factor) };
  },
  evaluate: async (model, rows, options) => ({ ...(await meanLoss(baseOf<CausalLM>(model), rows, options)) }),
};
