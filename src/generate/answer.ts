import type { Random } from '../core/random';
import type { GenerationSettings } from './generation_fields';
import type { Constraint } from './grammar/constraint';
import { argmax, constrain, constrains, type Progress, sample } from './logits';
import type { StopStrings } from './stop_strings';

/** What every answer of a call goes by. */
export interface Rules {
  settings: GenerationSettings;
  eos: ReadonlySet<number>;
  stops?: StopStrings;
  /** Where an answer of a form begins. */
  form?: Constraint;
  /** When no further token is begun, by performance.now(). */
  until: number;
}

/** One answer while it is written: of logits it makes its next token, and knows when it is over. */
export class Answer implements Progress {
  readonly tokens: number[];
  readonly prompt: number;
  readonly eos: ReadonlySet<number>;
  /** Why it is over: 'stop' at an end token or stop string, or where its form is whole, 'length' at its limit or when its time is up; undefined while it goes on. */
  finish_reason?: 'stop' | 'length';
  private form?: Constraint;

  /** `limit`: how many tokens there may be with the prompt's; `padding`: what would stand before it in a batch of longer rows. */
  constructor(
    ids: readonly number[],
    private readonly rules: Rules,
    private readonly random: Random,
    readonly limit: number,
    readonly padding = 0,
  ) {
    this.tokens = [...ids];
    this.prompt = ids.length;
    this.eos = rules.eos;
    this.form = rules.form;
  }

  /** The tokens behind the prompt. */
  get made(): number[] {
    return this.tokens.slice(this.prompt);
  }

  /** Whether the model's likeliest token is the next one, so that no logits are needed. */
  get isFree(): boolean {
    return !this.form && !this.rules.settings.do_sample && !constrains(this.rules.settings);
  }

  /** The next token, of logits [vocabulary], which are changed. */
  take(logits: Float32Array): number {
    const { settings } = this.rules;
    this.form?.mask(logits, this.eos);
    constrain(logits, settings, this);
    const token = settings.do_sample ? sample(logits, settings, this.random) : argmax(logits);
    this.append(token);
    return token;
  }

  append(token: number): void {
    this.tokens.push(token);
    const { stops, until } = this.rules;
    this.form = this.form?.after(token);
    if (this.eos.has(token) || stops?.met(this.tokens) || this.form?.isOver) this.finish_reason = 'stop';
    else if (this.tokens.length >= this.limit || performance.now() > until) this.finish_reason = 'length';
  }
}
