import type { FastifyInstance } from 'fastify';
import type { Tokenizer } from '../../tokenizers/tokenizer';
import { Asked, type WritingBody } from '../asked';
import { Exchange, head } from '../exchange';
import { type Scores, tokenText } from '../logprobs';
import { refuse } from '../refusal';
import { COMPLETION_REQUEST, REPLIES, replies } from '../schemas';
import type { Service } from '../service';
import type { Piece } from '../writer';

interface Body extends WritingBody {
  prompt: string | string[] | number[] | number[][];
  echo?: boolean | null;
  logprobs?: number | null;
  best_of?: number | null;
  add_special_tokens?: boolean | null;
}

/** Prompts as token ids. */
function promptsOf({ prompt, add_special_tokens }: Body, tokenizer: Tokenizer): number[][] {
  const all = (Array.isArray(prompt) && typeof prompt[0] !== 'number' ? prompt : [prompt]) as (string | number[])[];
  return all.map((one) => (typeof one === 'string' ? tokenizer.encode(one, { add_special_tokens: add_special_tokens ?? true }) : one));
}

/** OpenAI's lists of an answer's tokens. */
class Lists {
  readonly tokens: string[] = [];
  readonly token_logprobs: (number | null)[] = [];
  readonly top_logprobs: (Record<string, number> | null)[] = [];
  readonly text_offset: number[] = [];

  constructor(
    private readonly tokenizer: Tokenizer,
    private offset = 0,
  ) {}

  add(id: number, scores?: Scores): this {
    const { token } = tokenText(this.tokenizer, id);
    this.tokens.push(token);
    this.token_logprobs.push(scores ? scores.logprob : null);
    const top = scores && new Map(scores.top.map(({ id: other, logprob }) => [tokenText(this.tokenizer, other).token, logprob]));
    // As OpenAI does, the token that was written is among them.
    if (top && !top.has(token)) top.set(token, (scores as Scores).logprob);
    this.top_logprobs.push(top ? Object.fromEntries(top) : null);
    this.text_offset.push(this.offset);
    this.offset += token.length;
    return this;
  }

  get end(): number {
    return this.offset;
  }

  get json() {
    const { tokens, token_logprobs, top_logprobs, text_offset } = this;
    return { text_offset, token_logprobs, tokens, top_logprobs };
  }
}

/** The n answers to each prompt whose tokens are the likeliest in the mean. */
function best(made: Required<Piece>[], several: number, n: number): Required<Piece>[] {
  const mean = ({ scores }: Piece) => scores.reduce((sum, { logprob }) => sum + logprob, 0) / Math.max(1, scores.length);
  return Array.from({ length: made.length / several }, (_, prompt) =>
    made
      .slice(prompt * several, (prompt + 1) * several)
      .sort((a, b) => mean(b) - mean(a))
      .slice(0, n),
  )
    .flat()
    .map((piece, index) => ({ ...piece, index }));
}

export function completions(app: FastifyInstance, service: Service): void {
  const schema = {
    summary: 'Continues texts.',
    operationId: 'createCompletion',
    body: COMPLETION_REQUEST,
    response: replies(REPLIES.completion, [400, 401, 404, 408, 413, 415, 500, 503, 504], true),
  };
  app.post<{ Body: Body }>('/v1/completions', { schema }, async ({ body }, reply) => {
    const { tokenizer } = service;
    const n = body.n ?? 1;
    const several = body.best_of ?? n;
    if (several < n) throw refuse(`best_of is ${several}, but n is ${n}: the best n are of so many.`, 'best_of');
    if (several > n && body.stream) throw refuse('best_of cannot be streamed: which is best is known at the end.', 'best_of');
    await service.adapters.ready();
    service.adapterOf(body.model);
    const prompts = promptsOf(body, tokenizer);
    const logprobs = body.logprobs ?? undefined;
    const asked = new Asked(service, body, prompts, {
      answers: several,
      max_tokens: 16,
      logprobs: logprobs ?? (several > n ? 0 : undefined),
      prompts: Boolean(body.echo) && logprobs !== undefined,
      names: { prompt: 'prompt', answers: body.best_of ? 'best_of' : 'n' },
    });
    const exchange = new Exchange(service, asked, reply);
    const start = head('text_completion', 'cmpl', body.model);
    const promptText = (index: number) => {
      const which = Math.floor(index / n);
      const given = [body.prompt].flat()[which];
      return typeof given === 'string' ? given : tokenizer.decode(prompts[which]);
    };
    const listsOf = (index: number) => {
      const lists = new Lists(tokenizer);
      if (body.echo)
        for (const [i, id] of prompts[Math.floor(index / n)].entries()) lists.add(id, asked.promptScores[Math.floor(index / n)][i - 1]);
      return lists;
    };
    if (body.stream) {
      const open = new Map<number, Lists>();
      const usage = () => (body.stream_options?.include_usage ? [{ ...start, choices: [], usage: exchange.usage }] : []);
      const chunk = ({ index, text, scores, finish_reason }: Piece) => {
        const before = open.get(index);
        const lists = before ? new Lists(tokenizer, before.end) : listsOf(index);
        for (const score of scores) lists.add(score.id, score);
        open.set(index, lists);
        const all = body.echo && !before ? promptText(index) + text : text;
        const choice = { index, text: all, logprobs: logprobs === undefined ? null : lists.json, finish_reason: finish_reason ?? null };
        return [{ ...start, choices: [choice] }];
      };
      await exchange.stream([], chunk, usage);
      return reply;
    }
    const made = await exchange.whole();
    const chosen = several > n ? best(made, several, n) : made;
    const choices = chosen.map(({ index, text, scores, finish_reason }) => {
      const lists = logprobs === undefined ? undefined : listsOf(index);
      for (const score of scores) lists?.add(score.id, score);
      return { index, text: body.echo ? promptText(index) + text : text, logprobs: lists?.json ?? null, finish_reason };
    });
    return { ...start, choices, usage: exchange.usage };
  });
}
