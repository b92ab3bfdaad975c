import { OptionError } from '../core/errors';
import { checkFlags, checkNumber, show } from '../core/options';
import { textsOf } from '../data/collate';
import type { Example } from '../data/sft';
import { combine, type EvaluationModule, load, METRICS } from '../evaluate/metrics';
import { generate } from '../generate/generate';
import type { CausalLM } from '../models/causal_lm';
import type { Tokenizer } from '../tokenizers/tokenizer';

/** How answers are made in evaluations, and scored. */
export interface GenerationOptions {
  /** Whether evaluations let the model answer the rows' prompts, greedily, and score its answers too. Default: false. */
  predict_with_generate: boolean;
  /** The metrics of answers beside those of the rows (evaluate.load's names): 'exact_match', ['rouge', 'exact_match']. Default: 'exact_match'. */
  generation_metrics: string | string[];
  /** Tokens of an answer, at most. Default: 64. */
  generation_max_new_tokens: number;
  /** How many of the evaluation rows are answered, the first ones; null: all. Default: 32. */
  generation_samples: number | null;
}

export const GENERATION_OPTIONS: GenerationOptions = {
  predict_with_generate: false,
  generation_metrics: 'exact_match',
  generation_max_new_tokens: 64,
  generation_samples: 32,
};

/** Fails where answers could not be scored so. */
export function checkGeneration(owner: string, o: GenerationOptions): void {
  checkFlags(owner, o, 'predict_with_generate');
  checkNumber(
    owner,
    'generation_max_new_tokens',
    o.generation_max_new_tokens,
    { integer: true, min: 1 },
    'It is how long an answer may be.',
  );
  if (o.generation_samples !== null)
    checkNumber(owner, 'generation_samples', o.generation_samples, { integer: true, min: 1 }, 'null answers all rows.');
  const names = [o.generation_metrics].flat();
  if (!names.length) throw new OptionError(`${owner}: generation_metrics names no metric. 'exact_match' is one.`);
  for (const name of names) {
    const { inputs } = METRICS[load(name).name]; // which says what there is
    if (inputs.join() !== 'predictions,references')
      throw new OptionError(
        `${owner}: generation_metrics has ${show(name)}, which takes ${inputs.join(' and ')}; answers are scored by metrics of predictions and references.`,
      );
  }
}

/** A prompt with the answer that stands behind it in its row; undefined where a row does not begin with something to answer. */
function asked(example: Example): { prompt: number[]; answer: number[] } | undefined {
  const { input_ids, trained } = textsOf(example)[0];
  const from = trained.indexOf(true);
  if (from < 1) return undefined;
  const end = trained.indexOf(false, from);
  return { prompt: input_ids.slice(0, from), answer: input_ids.slice(from, end < 0 ? undefined : end) };
}

/** The model's answers to evaluation rows, and what metrics make of them. */
export class Answers {
  private readonly metrics: EvaluationModule;
  private readonly rows: NonNullable<ReturnType<typeof asked>>[];

  constructor(
    examples: Example[],
    private readonly tokenizer: Tokenizer,
    private readonly options: GenerationOptions,
  ) {
    this.metrics = combine([options.generation_metrics].flat());
    this.rows = examples.flatMap((example) => asked(example) ?? []).slice(0, options.generation_samples ?? undefined);
    if (!this.rows.length)
      throw new OptionError(
        'predict_with_generate: no row of eval_dataset has a prompt before what is learned. Give rows of {prompt, completion}, or of {messages} with assistant_only_loss: true.',
      );
  }

  /** Figures under names that begin with eval_; yields to the event loop. */
  async score(model: CausalLM, after?: () => Promise<void>): Promise<Record<string, number>> {
    const text = (ids: number[]) => this.tokenizer.decode(ids, { skip_special_tokens: true }).trim();
    const predictions: string[] = [];
    for (const { prompt } of this.rows) {
      predictions.push(text(await generate(model, prompt, { max_new_tokens: this.options.generation_max_new_tokens, do_sample: false })));
      await after?.();
    }
    return this.figures(
      predictions,
      this.rows.map(({ answer }) => text(answer)),
    );
  }

  /** The names of its figures. */
  get names(): string[] {
    return Object.keys(this.figures(['a', 'b'], ['a', 'c']));
  }

  private figures(predictions: string[], references: string[]): Record<string, number> {
    const values = Object.entries(this.metrics.compute({ predictions, references }));
    return Object.fromEntries(values.flatMap(([name, value]) => (typeof value === 'number' ? [[`eval_${name}`, value]] : [])));
  }
}
