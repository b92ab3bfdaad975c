import { randomInt } from 'node:crypto';
import { Random } from '../core/random';
import { Answer } from '../generate/answer';
import { readCall } from '../generate/calls';
import type { StructuredOutputs } from '../generate/grammar/constraint';
import { Channel } from './channel';
import type { Job } from './lane';
import { type Scores, scoresOf } from './logprobs';
import { Refusal } from './refusal';
import type { Service } from './service';
import { type Piece, Writer } from './writer';
import { Written } from './written';

/** What both kinds of completion may be asked for; null is as if it were not there. */
export interface WritingBody {
  model: string;
  n?: number | null;
  temperature?: number | null;
  top_p?: number | null;
  top_k?: number | null;
  min_p?: number | null;
  presence_penalty?: number | null;
  frequency_penalty?: number | null;
  repetition_penalty?: number | null;
  max_tokens?: number | null;
  min_tokens?: number | null;
  seed?: number | null;
  stop?: string | string[] | null;
  stop_token_ids?: number[] | null;
  ignore_eos?: boolean | null;
  logit_bias?: Record<string, number> | null;
  stream?: boolean | null;
  stream_options?: { include_usage?: boolean } | null;
  structured_outputs?: StructuredOutputs | null;
}

/** How one kind of completion differs. */
export interface Kind {
  /** Answers to each prompt. */
  answers: number;
  /** Where the request says nothing. */
  max_tokens?: number;
  logprobs?: number;
  /** Whether the log-probabilities of the prompts are asked for. */
  prompts?: boolean;
  /** Whether special tokens are written. */
  special?: boolean;
  /** What the answers have to be; by default what the request says. */
  form?: StructuredOutputs;
}

/** The options of `generate` that a request comes to. */
function settingsOf(body: WritingBody, { tokenizer, model }: Service, max_new_tokens: number) {
  const own = model.generation_config as { temperature?: number; do_sample?: boolean; eos_token_id?: number | number[] };
  const temperature = body.temperature ?? (own.do_sample ? (own.temperature ?? 1) : 1);
  const eos = body.ignore_eos ? [] : [own.eos_token_id ?? tokenizer.eos_token_id ?? []].flat();
  const sampling = temperature > 0 && {
    temperature,
    top_k: body.top_k === null || body.top_k === undefined ? ((own as { top_k?: number }).top_k ?? 0) : Math.max(0, body.top_k),
    top_p: body.top_p ?? undefined,
    min_p: body.min_p ?? undefined,
  };
  return {
    do_sample: temperature > 0,
    ...sampling,
    ...{ presence_penalty: body.presence_penalty ?? undefined, frequency_penalty: body.frequency_penalty ?? undefined },
    ...{ repetition_penalty: body.repetition_penalty ?? undefined, min_new_tokens: body.min_tokens || undefined },
    eos_token_id: [...eos, ...(body.stop_token_ids ?? [])],
    max_new_tokens: Math.max(1, max_new_tokens),
  };
}

/** A request for completions on its way through the batch. */
export class Asked {
  readonly channel = new Channel<Piece>();
  /** Of each prompt the scores of its tokens but the first, where they are asked for. */
  readonly promptScores: Scores[][];
  private readonly jobs: Job[];
  private open: number;

  constructor(
    private readonly service: Service,
    body: WritingBody,
    readonly prompts: readonly number[][],
    kind: Kind,
  ) {
    const { adapters, batch, options } = service;
    const { answers: several } = kind;
    const adapter = service.adapterOf(body.model);
    const limits = prompts.map((prompt) => this.limitOf(prompt, body.max_tokens ?? kind.max_tokens));
    const rules = readCall(service.model, {
      ...settingsOf(body, service, Math.max(...limits)),
      ...{ structured_outputs: kind.form ?? body.structured_outputs ?? null, tokenizer: service.tokenizer },
    });
    const seed = body.seed ?? randomInt(2 ** 31);
    const stops = [body.stop ?? []].flat();
    const bias = Object.entries(body.logit_bias ?? {}).map(([id, amount]) => [Number(id), amount] as const);
    const deadline = performance.now() + 1000 * options.request_timeout;
    this.promptScores = prompts.map(() => []);
    this.open = prompts.length;
    const used = prompts.map(() => adapters.use(adapter));
    this.jobs = prompts.map((prompt, i) => ({
      adapter: used[i].adapter,
      prompt,
      answers: Array.from({ length: several }, (_, j) => {
        const at = i * several + j;
        // The first draws as `generate` does with this seed.
        const random = at ? Random.seeded(seed, at) : Random.seeded(seed);
        const answer = new Answer(prompt, rules, random, prompt.length + limits[i]);
        const written = new Written(service.tokenizer, prompt, stops, kind.special);
        return new Writer(answer, written, this.channel, { index: at, logprobs: kind.logprobs, bias, nothing: limits[i] === 0 });
      }),
      length: prompt.length + several * limits[i],
      prompted: kind.prompts ? this.prompted(i, kind.logprobs ?? 0) : undefined,
      deadline,
      cancelled: false,
      done: (error) => {
        used[i].release();
        this.done(error);
      },
    }));
    try {
      batch.add(this.jobs);
    } catch (error) {
      for (const { release } of used) release();
      throw error;
    }
  }

  private limitOf(prompt: readonly number[], wanted?: number): number {
    const { length, model } = this.service;
    const refuse = (what: string) => new Refusal(400, what, 'invalid_request_error', 'context_length_exceeded', 'messages');
    if (!prompt.length) throw new Refusal(400, 'The prompt has no tokens.', 'invalid_request_error', null, 'prompt');
    const wrong = prompt.find((id) => id >= model.config.vocab_size);
    if (wrong !== undefined)
      throw new Refusal(
        400,
        `The prompt has the token ${wrong}, but there are ${model.config.vocab_size} tokens.`,
        'invalid_request_error',
        null,
        'prompt',
      );
    if (prompt.length > length || (prompt.length === length && wanted !== 0))
      throw refuse(`This model's maximum context length is ${length} tokens, and the prompt has ${prompt.length}. Shorten it.`);
    const limit = wanted ?? length - prompt.length;
    if (prompt.length + limit > length)
      throw refuse(
        `This model's maximum context length is ${length} tokens. The prompt has ${prompt.length}, and ${limit} more are asked for: ask for ${length - prompt.length} at most.`,
      );
    return limit;
  }

  private prompted(i: number, count: number) {
    let read = 0;
    return (logits: Float32Array[]) => {
      for (const row of logits) {
        const next = this.prompts[i][++read];
        if (next !== undefined) this.promptScores[i].push(scoresOf(row, next, count));
      }
    };
  }

  private done(error?: Error): void {
    if (error) {
      this.channel.close(error);
      this.cancel();
    } else if (--this.open === 0) this.channel.close();
  }

  /** Nobody wants the answers any more. */
  cancel(): void {
    for (const job of this.jobs) job.cancelled = true;
  }
}
