import { OptionError } from '../../core/errors';
import { readOptions, show } from '../../core/options';
import type { Tokenizer } from '../../tokenizers/tokenizer';
import { character } from './characters';
import { type Expression, Language, type State } from './expression';
import { jsonSchema } from './json_schema';
import { regex } from './regex';
import { Vocabulary } from './vocabulary';

/** What an answer has to be, one of these (vLLM's names). */
export interface StructuredOutputs {
  /** A JSON schema, as an object or as text; the answer is JSON that it describes. Default: null. */
  json?: object | string | null;
  /** Any JSON object. Default: null. */
  json_object?: boolean | null;
  /** One of these texts. Default: null. */
  choice?: readonly string[] | null;
  /** A text that this regular expression matches as a whole. Default: null. */
  regex?: string | RegExp | null;
}
const NONE: Required<StructuredOutputs> = { json: null, json_object: null, choice: null, regex: null };

function expressionOf(l: Language, given: StructuredOutputs): Expression {
  const all = readOptions<Required<StructuredOutputs>>('structured_outputs', given, NONE);
  const set = Object.entries(all).filter(([, value]) => value !== null && value !== false);
  if (set.length !== 1)
    throw new OptionError(`structured_outputs is ${show(given)}; it is one of { json }, { json_object: true }, { choice } and { regex }.`);
  const { json, json_object, choice, regex: pattern } = all;
  if (json !== null) return jsonSchema(l, typeof json === 'string' ? parsed(json) : (json as Record<string, unknown>));
  if (json_object) return jsonSchema(l, { type: 'object', additionalProperties: true });
  if (pattern !== null) return regex(l, pattern instanceof RegExp ? pattern.source : pattern, (points) => character(l, points), true);
  if (!Array.isArray(choice) || !choice.length || !choice.every((text) => typeof text === 'string' && text))
    throw new OptionError(`structured_outputs: choice is ${show(choice)}; it is a list of texts, none of them empty.`);
  return l.either(choice.map((text) => l.text(text)));
}

function parsed(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text);
  } catch {
    throw new OptionError(`structured_outputs: json is no JSON text: ${show(text)}.`);
  }
}

/** Where an answer has come to that has to be of a form; another one stands behind each token. */
export class Constraint {
  private constructor(
    private readonly vocabulary: Vocabulary,
    private readonly state: State,
  ) {}

  /** Of `structured_outputs`; undefined where there are none. */
  static of(given: StructuredOutputs | null, tokenizer: Tokenizer | null): Constraint | undefined {
    if (given === null) return undefined;
    if (!tokenizer)
      throw new OptionError(
        'generate: structured_outputs needs the tokenizer, to know what tokens say: generate(ids, { structured_outputs, tokenizer }).',
      );
    const language = new Language();
    return new Constraint(Vocabulary.of(tokenizer), language.state([expressionOf(language, given)]));
  }

  /** Whether the answer is whole, and nothing may follow. */
  get isOver(): boolean {
    return this.state.canEnd && !this.vocabulary.in(this.state).length;
  }

  /** -Infinity for what may not come; end tokens may where the answer is whole. In place. */
  mask(logits: Float32Array, eos: ReadonlySet<number>): void {
    const kept = new Map<number, number>();
    for (const id of this.vocabulary.in(this.state)) kept.set(id, logits[id]);
    if (this.state.canEnd) for (const id of eos) kept.set(id, logits[id]);
    if (!kept.size) throw new OptionError('structured_outputs: the vocabulary has no token that the answer can go on with.');
    logits.fill(Number.NEGATIVE_INFINITY);
    for (const [id, logit] of kept) logits[id] = logit;
  }

  /** Behind a token: the same where it is an end token. */
  after(token: number): Constraint {
    const next = this.vocabulary.after(this.state, token);
    return next ? new Constraint(this.vocabulary, next) : this;
  }
}
