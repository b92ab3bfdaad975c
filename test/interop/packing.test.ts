// Packing and chat templates, against TRL.
import { beforeAll, expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { PACKING, pack } from '../../src/data/packing';
import { AutoModelForCausalLM, AutoTokenizer, clone_chat_template } from '../../src/index';
import { peer } from '../peer';
import { scratch, tinyLlama, tinyTokenizer } from '../tiny';

const random = Random.seeded(21);
const rowsOf = (count: number, longest: number) =>
  Array.from({ length: count }, () => Array.from({ length: random.below(longest) }, () => random.below(60_000)));
const CASES = [
  { rows: [[1, 2, 3, 4, 5], [6, 7], [8, 9, 10], [11]], most: 4 },
  { rows: rowsOf(200, 30), most: 32 },
  { rows: rowsOf(200, 90), most: 50 },
  { rows: rowsOf(60, 12), most: 7 },
  { rows: rowsOf(300, 5), most: 64 },
].flatMap(({ rows, most }) => PACKING.map((strategy) => ({ rows, most, strategy })));

const labels = CASES.map(({ rows }) => rows.map((row) => row.map((id) => (id % 3 ? id : -100))));
const messages = [
  { role: 'user', content: 'Hi <think>' },
  { role: 'assistant', content: 'Hello.' },
];
const [base, source] = [scratch('base'), scratch('chat')];
const clones = [64, 8, null].map((multiple) => ({ source, multiple }));
let model: string;
let trl: { packed: { input_ids: number[][]; labels: number[][]; seq_lengths?: number[][] }[]; cloned: object[] };

beforeAll(async () => {
  model = await tinyLlama(3, { vocab_size: 259 });
  await tinyTokenizer({ chat_template: undefined, eos_token: '<|pad|>', pad_token: '<|pad|>' }, ['<|pad|>']).save_pretrained(base);
  await tinyTokenizer({}, ['<|im_start|>', '<|im_end|>', '<|pad|>'], ['<think>', '</think>']).save_pretrained(source);
  const cases = CASES.map((one, i) => ({ ...one, labels: labels[i] }));
  trl = peer('trl', { cases, clones, model, tokenizer: base, messages }, 'peer_data.py');
}, 200_000);

it('rows are packed into the rows that TRL packs them into, with what is learned of them', () => {
  for (const [i, { rows, most, strategy }] of CASES.entries()) {
    const examples = rows.map((input_ids, k) => ({ input_ids, trained: labels[i][k].map((label) => label !== -100) }));
    const ours = pack(examples, most, strategy);
    const { input_ids, labels: learned, seq_lengths } = trl.packed[i];
    const what = `${strategy} at ${most}`;
    expect(
      ours.map((row) => row.input_ids),
      what,
    ).toEqual(input_ids);
    expect(
      ours.map((row) => row.input_ids.map((id, k) => (row.trained[k] ? id : -100))),
      what,
    ).toEqual(learned);
    if (seq_lengths)
      expect(
        ours.map((row) => row.lengths),
        what,
      ).toEqual(seq_lengths);
    // TRL does not know any more where texts begin; here they stay apart.
    else
      expect(
        ours.every((row) => row.lengths?.reduce((a, b) => a + b) === row.input_ids.length),
        what,
      ).toBe(true);
  }
});

const fresh = async () => ({
  own: await AutoModelForCausalLM.from_pretrained(model, { progress: false }),
  tokenizer: await AutoTokenizer.from_pretrained(base),
});

it('a base model gets template, tokens and embeddings of another as by clone_chat_template', async () => {
  for (const [i, { multiple }] of clones.entries()) {
    const { own, tokenizer } = await fresh();
    const [changed, same, added] = await clone_chat_template(own, tokenizer, source, { resize_to_multiple_of: multiple });
    expect([changed, same]).toEqual([own, tokenizer]);
    expect({
      added,
      length: tokenizer.length,
      rows: own.decoder.embeddings.weight.shape[0],
      vocab_size: own.config.vocab_size,
      eos: [tokenizer.eos_token, own.config.eos_token_id, own.generation_config.eos_token_id],
      ids: tokenizer.apply_chat_template(messages),
    }).toEqual(trl.cloned[i]);
    own.dispose();
  }
  const { own, tokenizer } = await fresh();
  await expect(clone_chat_template(own, tokenizer, base)).rejects.toThrow(/has no chat template itself/);
  own.dispose();
});
