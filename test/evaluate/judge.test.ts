// Who judges answers: a model in both orders, the reader blind; and what is made of it.
import { inspect } from 'node:util';
import { beforeAll, expect, it } from 'vitest';
import { on } from '../../src/core/events';
import { DISPLAY } from '../../src/core/shown';
import { kappa } from '../../src/evaluate/judgement';
import {
  AutoModelForCausalLM,
  get_peft_model,
  judge,
  LoraConfig,
  loglikelihood,
  ModelPairwiseJudge,
  pipeline,
  ReaderPairwiseJudge,
} from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { peer } from '../peer';
import { tinyLlama, tinyTokenizer } from '../tiny';

const tokenizer = tinyTokenizer();
let model: CausalLM;
beforeAll(async () => {
  model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(3, { tie_word_embeddings: false }), { progress: false });
});

const PROMPTS = ['one?', 'two?', 'three?', 'four?', 'five?', 'six?'];
const before = PROMPTS.map((prompt) => `${prompt} bad`);
const after = PROMPTS.map((prompt) => `${prompt} good`);
const pairs = PROMPTS.map((_, i) => [before[i], after[i]] as [string, string]);

it('a model judges each pair in both orders, and contradictions are no verdict', async () => {
  const by = new ModelPairwiseJudge(model, { tokenizer });
  const ranks = await by.judge(PROMPTS, pairs);
  const sure = async (a: string, b: string, prompt: string) => {
    const question = `Compare two answers to a question.\n\nQuestion:\n${prompt}\n\nAnswer A:\n${a}\n\nAnswer B:\n${b}\n\nWhich answer is correct, helpful and says no more than was asked for? Say A or B.\nThe better answer is`;
    const [first, second] = await loglikelihood(
      model,
      [' A', ' B'].map((letter) => [question, letter] as const),
      { tokenizer },
    );
    return first.logprob - second.logprob;
  };
  let same = 0;
  for (const [i, prompt] of PROMPTS.entries()) {
    const [ab, ba] = [await sure(before[i], after[i], prompt), await sure(after[i], before[i], prompt)];
    const agree = ab > 0 === ba < 0;
    if (agree) same++;
    expect(ranks[i], prompt).toBe(agree ? (ab > 0 ? 0 : 1) : -1);
  }
  expect(by.consistency).toBeCloseTo(same / PROMPTS.length);
  const loose = await new ModelPairwiseJudge(model, { tokenizer, strict: false }).judge(PROMPTS, pairs);
  expect(loose.every((rank) => rank !== -1)).toBe(true);
  for (const [i, rank] of loose.entries()) if (ranks[i] !== -1) expect(rank).toBe(ranks[i]);
});

it('the reader judges blind: by what is better, wherever it stands', async () => {
  let shown = '';
  const off = on('show', ({ text }) => (shown = text));
  const asked: string[] = [];
  const places: string[] = [];
  const ask = async (question: string) => {
    asked.push(question);
    if (asked.length === 1) return 'perhaps';
    const place = /A: .* good/.test(shown) ? 'a' : 'b';
    places.push(place);
    return place;
  };
  const result = await judge({ prompts: PROMPTS, before, after, judges: { me: new ReaderPairwiseJudge({ ask }) } });
  off();
  expect(asked[1]).toMatch(/^Please/);
  expect(new Set(places).size, 'the order is shuffled').toBe(2);
  expect(result.verdicts[0].winners).toEqual(PROMPTS.map(() => 'after'));
  // Wilson's interval of 6 of 6, and the exact binomial test of 6 to 0.
  expect(result.verdicts[0].win_rate.value).toBe(1);
  expect(result.verdicts[0].win_rate.low).toBeCloseTo(0.6097, 3);
  expect(result.verdicts[0].test.p_value).toBeCloseTo(2 / 64);
  const ends = await new ReaderPairwiseJudge({ ask: async (question) => (question.startsWith('3') ? 'q' : '=') }).judge(PROMPTS, pairs);
  expect(ends).toEqual(PROMPTS.map(() => -1));
});

it('judges are compared with each other, as scikit-learn does it, and shown', async () => {
  const fixed = (ranks: (0 | 1 | -1)[]) => ({ judge: async () => ranks });
  const result = await judge({
    prompts: PROMPTS,
    before,
    after,
    judges: { first: fixed([1, 1, 1, 0, -1, 1]), second: fixed([1, 0, 1, 0, 1, 1]) },
  });
  const [{ share, kappa: k }] = result.agreement();
  expect(share).toBeCloseTo(4 / 6);
  const [a, b] = result.verdicts.map(({ winners }) => winners);
  expect(k).toBeCloseTo(peer<number>('kappa', { a, b }, 'metrics_peer.py'), 12);
  expect(kappa(['x', 'x'], ['x', 'x'])).toBe(1);
  expect(inspect(result)).toMatch(/^judge: first, after better: 4, before better: 1, neither: 1, after wins: 80 % \(38 % to 96 %\)/);
  const shown = await result[DISPLAY]();
  expect(shown['text/html']).toContain('6 pairs of answers');
  expect(JSON.parse(JSON.stringify(result)).agreement).toHaveLength(1);
});

it('models answer themselves: an adapter and what is below it', async () => {
  const worn = get_peft_model(model, new LoraConfig({ r: 2, target_modules: ['q_proj'] }));
  const seen: (readonly [string, string])[] = [];
  const keep = {
    judge: async (_: unknown, given: readonly (readonly [string, string])[]) => {
      seen.push(...given);
      return given.map(() => 0 as const);
    },
  };
  const result = await judge({ prompts: ['abc'], after: worn, judges: { keep }, tokenizer, max_new_tokens: 4 });
  expect(seen).toHaveLength(1);
  expect(seen[0][0], 'a fresh adapter changes nothing').toBe(seen[0][1]);
  const pipe = await pipeline('text-generation', model, { tokenizer });
  const [{ generated_text: said }] = await pipe([{ role: 'user', content: 'abc' }], { max_new_tokens: 4, do_sample: false });
  expect(result.rows[0].before, 'asked as a conversation').toBe(said.at(-1)?.content);
  worn.unload();
});

it('the model below an adapter answers, and judges, without it, also where it is given by itself', async () => {
  const own = { prompts: PROMPTS, tokenizer, max_new_tokens: 6 };
  const bare = await judge({
    ...own,
    before: model,
    after: model,
    judges: { same: { judge: async () => PROMPTS.map(() => -1 as const) } },
  });
  const of = () => new ModelPairwiseJudge(model, { tokenizer, strict: false });
  const ranks = await of().judge(PROMPTS, pairs);
  const worn = get_peft_model(model, new LoraConfig({ r: 8, target_modules: 'all-linear', init_lora_weights: false }));
  const answers = bare.rows.map((row) => row.before);
  const given: string[][] = [];
  const keep = {
    judge: async (_: unknown, all: readonly (readonly [string, string])[]) => {
      given.push(all.map(([first]) => first));
      expect(all.map(([, second]) => second)).not.toEqual(answers);
      return all.map(() => 0 as const);
    },
  };
  await judge({ ...own, after: worn, judges: { keep } });
  await judge({ ...own, before: model, after: worn, judges: { keep } });
  expect(given).toEqual([answers, answers]);
  expect(await of().judge(PROMPTS, pairs), 'the adapter would judge otherwise').not.toEqual(ranks);
  const judged = await judge({ ...own, before, after: worn, judges: { model: of() } });
  worn.unload();
  const free = await judge({ ...own, before, after: judged.rows.map((row) => row.after), judges: { model: of() } });
  expect(judged.verdicts[0].winners).toEqual(free.verdicts[0].winners);
});

it('what cannot be judged is refused with what to do', async () => {
  const judges = { x: { judge: async () => [0 as const] } };
  const REFUSED: [object, RegExp][] = [
    [{ prompts: [], after, judges }, /at least one prompt/],
    [{ prompts: PROMPTS, judges }, /needs after/],
    [{ prompts: PROMPTS, after, judges }, /needs before/],
    [{ prompts: PROMPTS, before, after, judges: {} }, /must name who judges/],
    [{ prompts: PROMPTS, before: ['one'], after, judges }, /before has 1 answers to 6 prompts/],
    [{ prompts: PROMPTS, before, after, judges }, /x said .* of 6 pairs/],
    [{ prompts: PROMPTS, before, after, judges, judge: 1 }, /judges/],
  ];
  for (const [given, text] of REFUSED) await expect(judge(given as never)).rejects.toThrow(text);
  expect(() => new ModelPairwiseJudge(model, {} as never)).toThrow(/needs the tokenizer/);
});
