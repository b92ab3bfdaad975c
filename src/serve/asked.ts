import { randomInt } from 'node:crypto';
import { Random } from '../core/random';
import { Answer } from '../generate/answer';
import { readCall } from '../generate/calls';
import type { StructuredOutputs } from '../generate/grammar/constraint';
import { Channel } from './channel';
import type { Job } from './lane';
import { type Scores, scoresOf } from './logprobs';
import { refuse } from './refusal';
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
  /** What the request calls its prompts and their number of answers. */
  names: { prompt: string; answers: string };
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
    const limits = this.limitsOf(body.max_tokens ?? undefined, kind);
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

  /** Tokens that the answers to each prompt may have; what can never be answered is refused. */
  private limitsOf(wanted: number | undefined, { answers, names, max_tokens }: Kind): number[] {
    const { max_num_seqs, max_num_waiting } = this.service.batch.bounds;
    if (answers > max_num_seqs)
      throw refuse(
        `${names.answers} is ${answers}, but ${max_num_seqs} answers at most are written at once (max_num_seqs).`,
        names.answers,
      );
    if (this.prompts.length > max_num_waiting)
      throw refuse(`There are ${this.prompts.length} prompts; ${max_num_waiting} at most may wait (max_num_waiting).`, names.prompt);
    return this.prompts.map((prompt) => this.limitOf(prompt, answers, wanted ?? max_tokens, names.prompt));
  }

  private limitOf(prompt: readonly number[], several: number, wanted: number | undefined, param: string): number {
    const { length, model, batch } = this.service;
    const long = (what: string) => refuse(what, param, 'context_length_exceeded');
    if (!prompt.length) throw refuse('The prompt has no tokens.', param);
    const wrong = prompt.find((id) => id >= model.config.vocab_size);
    if (wrong !== undefined) throw refuse(`The prompt has the token ${wrong}, but there are ${model.config.vocab_size} tokens.`, param);
    const context = `This model's maximum context length is ${length} tokens`;
    if (prompt.length > length || (prompt.length === length && wanted !== 0))
      throw long(`${context}, and the prompt has ${prompt.length}. Shorten it.`);
    if (wanted !== undefined && prompt.length + wanted > length)
      throw long(
        `${context}. The prompt has ${prompt.length}, and ${wanted} more are asked for: ask for ${length - prompt.length} at most.`,
      );
    // Where the request does not say how long they may be, answers are as long as there is room for.
    const { tokens } = batch.bounds;
    const room = Math.floor((tokens - prompt.length) / several);
    if (room < (wanted ?? 1))
      throw long(
        `There is room for the keys and values of ${tokens} tokens (kv_cache_space). The prompt has ${prompt.length}, and ${several} x ${wanted ?? 1} more are asked for: ask for less.`,
      );
    return wanted ?? Math.min(length - prompt.length, room);
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
