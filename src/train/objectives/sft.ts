import { labelCount, textsOf } from '../../data/collate';
import type { Example } from '../../data/sft';
import { meanLoss } from '../../evaluate/loss';
import type { CausalLM } from '../../models/causal_lm';
import { baseOf, type PeftModel } from '../../peft/model';
import type { Objective } from '../objective';

/** Supervised fine-tuning: the cross-entropy of the trained tokens, each counting alike. */
export const sft: Objective<Example, CausalLM | PeftModel<CausalLM>> = {
  texts: textsOf,
  weight: labelCount,
  loss: (model, { ids, positions, labels }, { factor, forward }) => ({
    loss: baseOf<CausalLM>(model).loss(ids, positions, labels, factor, forward),
  }),
  evaluate: async (model, rows, options) => ({ ...(await meanLoss(baseOf<CausalLM>(model), rows, options)) }),
};
