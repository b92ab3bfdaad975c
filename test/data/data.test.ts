import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { type Batch, collate, labelCount, microBatches, textsOf } from '../../src/data/collate';
import { Dataset } from '../../src/data/dataset';
import { load_dataset } from '../../src/data/load_dataset';
import { rowOrder, SAMPLING } from '../../src/data/order';
import { pack } from '../../src/data/packing';
import { type Example, encodeConversation, prepareSft } from '../../src/data/sft';
import type { Message } from '../../src/tokenizers/tokenizer';
import { chatRow, scratch, tinyTokenizer } from '../tiny';

const tokenizer = tinyTokenizer();
const format = { max_length: 1024, assistant_only_loss: true, completion_only_loss: null, dataset_text_field: 'text' };
const marked = (e: { input_ids: number[]; trained: boolean[] }) => tokenizer.decode(e.input_ids.filter((_, i) => e.trained[i]));

it('marks the assistant turns of any conversation, with their end tokens', () => {
  const messages: Message[] = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'One?' },
    { role: 'assistant', content: 'Eins.' },
    { role: 'user', content: 'Two?' },
    { role: 'assistant', content: 'Zwei 🙂.' },
  ];
  expect(marked(encodeConversation(messages, tokenizer, true))).toBe('Eins.<|im_end|>Zwei 🙂.<|im_end|>');
  expect(encodeConversation(messages, tokenizer, false).trained.every(Boolean)).toBe(true);
});

it('takes prompt and completion, text, and token ids', () => {
  const { examples } = prepareSft(
    [{ prompt: 'a b', completion: ' c' }, { text: 'hello' }, { input_ids: [1, 2, 3], labels: [-100, 2, -100] }],
    tokenizer,
    format,
  );
  expect(examples.map(marked)).toEqual([' c<|im_end|>', 'hello<|im_end|>', '\u0002']);
});

it('cuts long rows at max_length, counts them, and drops those with nothing left', () => {
  const rows = [chatRow('q', 'x'.repeat(100)), chatRow('q'.repeat(100), 'x'), chatRow('q', 'x')];
  const prepared = prepareSft(rows, tokenizer, { ...format, max_length: 50 });
  expect(prepared).toMatchObject({ truncated: 2, dropped: 1 });
  expect(prepared.examples.map((e) => e.input_ids.length)).toEqual([50, tokenizer.apply_chat_template(rows[2].messages).length]);
});

it('says which row lacks which fields', () => {
  expect(() => prepareSft([chatRow('a', 'b'), { question: 'x' }], tokenizer, format)).toThrow(
    /Row 1 has the fields question.*Give \{messages/,
  );
  expect(() => prepareSft([{ messages: [{ role: 'user' }] }], tokenizer, format)).toThrow(/Row 0: messages must be a list/);
  expect(() => prepareSft([{ prompt: 'a', completion: 3 }], tokenizer, format)).toThrow(/Row 0: prompt and completion/);
});

/** Its tokens one text behind another, whatever they have in common, and the labels of each place in them. */
function unfold({ ids, layout, positions, labels }: Batch) {
  const all = Array.from(ids.dataSync());
  const [prefix, ends] = layout.prefixed ? [layout.lengths![0], layout.lengths!.slice(1)] : [0, layout.lengths!];
  let at = prefix;
  const texts = ends.map((length) => {
    at += length;
    return [...all.slice(0, prefix), ...all.slice(at - length, at)];
  });
  const pairs = Array.from(positions.dataSync()).map((place, i) => [all[place], labels.dataSync()[i]]);
  return { texts, prefix, pairs };
}

it('collates rows one behind another, what they begin with once, and learns an end token although it is the pad token', () => {
  const system = { role: 'system', content: 'Be brief.' };
  const chats = [chatRow('q', 'x'), chatRow('longer question', 'y'), chatRow('q', 'xy')];
  const rows = chats.map(({ messages }) => ({ messages: [system, ...messages] }));
  const { examples } = prepareSft(rows, tokenizer, { ...format, assistant_only_loss: false });
  for (const group of [examples, examples.slice(1), examples.slice(0, 1)]) {
    const batch = collate(group, textsOf);
    const { texts, prefix, pairs } = unfold(batch);
    expect(texts).toEqual(group.map((e) => e.input_ids.slice(0, -1)));
    expect(prefix > 0).toBe(group.length > 1);
    expect(batch.ids.size).toBe(texts.flat().length - (group.length - 1) * prefix);
    expect(pairs).toEqual(group.flatMap(({ input_ids }) => input_ids.slice(1).map((id, i) => [input_ids[i], id])));
    expect(pairs.filter(([, id]) => id === tokenizer.eos_token_id).length).toBeGreaterThanOrEqual(group.length);
  }
});

it('shares a beginning of any length, of packed texts too, but none that is not worth it', () => {
  const random = Random.seeded(3);
  const text = (common: number, own: number): Example => {
    const input_ids = Array.from({ length: common + own }, (_, i) => (i < common ? i : 1000 + random.below(50)));
    return { input_ids, trained: input_ids.map((_, i) => i === common + own - 1 || random.uniform() < 0.5) };
  };
  for (const common of [0, 3, 8, 20]) {
    const separate = [text(common, 30), text(common, 9), text(common, 4), text(common, 2)];
    const rows = pack(separate, 60);
    const { texts, prefix, pairs } = unfold(collate(rows, textsOf));
    expect(prefix >= common).toBe(common !== 3);
    expect(texts).toEqual(separate.map(({ input_ids }) => input_ids.slice(0, -1)));
    expect(pairs).toHaveLength(rows.reduce((n, row) => n + labelCount(row), 0));
  }
  const same = { ...text(12, 0), trained: Array(12).fill(true) };
  expect(unfold(collate([same, same], textsOf)).prefix).toBe(10);
  // What follows the last label is not read; nor is all but one token of a text without labels.
  const tail = { input_ids: [1, 2, 3, 4, 5], trained: [false, true, true, false, false] };
  expect(unfold(collate([tail, { ...tail, trained: Array(5).fill(false) }], textsOf)).texts).toEqual([[1, 2], [1]]);
  expect(microBatches([text(20, 5), text(20, 5), text(20, 5)], textsOf, 30).map((group) => group.length)).toEqual([2, 1]);
});

const rowsOf = (lengths: number[]) => lengths.map((n) => ({ input_ids: Array<number>(n).fill(n), trained: Array<boolean>(n).fill(true) }));

it('splits into micro-batches by tokens, in order', () => {
  const rows = rowsOf([10, 10, 30, 5, 7]);
  expect(microBatches(rows, textsOf, 30).map((g) => g.map((e) => e.input_ids.length))).toEqual([[10, 10], [30], [5, 7]]);
  expect(microBatches(rows, textsOf, 1)).toHaveLength(5);
  expect(microBatches(rows, textsOf, 100, 2)).toHaveLength(3);
});

it('packs whole rows by best fit, and learns what it learned before', () => {
  const rows = rowsOf([4, 9, 3, 6, 2, 10]);
  const packed = pack(rows, 10);
  expect(packed.map((row) => row.lengths)).toEqual([[10], [9], [6, 4], [3, 2]]);
  expect(packed[2].input_ids).toEqual([6, 6, 6, 6, 6, 6, 4, 4, 4, 4]);
  expect(packed.reduce((n, row) => n + labelCount(row), 0)).toBe(rows.reduce((n, row) => n + labelCount(row), 0));
  // as TRL packs [[1, 2, 3, 4], [6, 7], [8, 9, 10], [11]] at 4
  expect(pack(rowsOf([4, 2, 3, 1]), 4).map((row) => row.lengths)).toEqual([[4], [3, 1], [2]]);
  const { positions, layout } = collate(packed.slice(2), textsOf);
  expect(layout.lengths).toEqual([5, 3, 2, 1]);
  expect(Array.from(positions.dataSync())).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
});

it('orders rows at random, as they are, or by like length', () => {
  const lengths = Array.from({ length: 300 }, (_, i) => (i * 7919) % 101);
  const every = lengths.map((_, i) => i);
  const order = (strategy: string, epoch = 0) => rowOrder(strategy, lengths, 2, 5, epoch);
  for (const strategy of SAMPLING) expect([...order(strategy)].sort((a, b) => a - b)).toEqual(every);
  expect(order('sequential')).toEqual(every);
  expect(order('random')).toEqual(order('random'));
  expect(order('random')).not.toEqual(order('random', 1));
  const spread = (rows: number[]) =>
    rows.reduce((sum, row, i) => sum + (i % 2 ? Math.abs(lengths[row] - lengths[rows[i - 1]]) : 0), 0) / (rows.length / 2);
  expect(spread(order('group_by_length'))).toBeLessThan(spread(order('random')) / 5);
  expect(lengths[order('group_by_length')[0]]).toBe(Math.max(...lengths));
});

it('datasets split, select and load as in Python', async () => {
  const all = Dataset.from_list(Array.from({ length: 10 }, (_, i) => ({ i })));
  const { train, test } = all.train_test_split({ test_size: 0.25, seed: 1 });
  expect([train.length, test.length]).toEqual([7, 3]);
  expect([...train, ...test].map((r) => r.i).sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(all.train_test_split({ test_size: 0.25, seed: 1 }).test.at(0)).toEqual(test.at(0));
  expect(() => all.train_test_split({ test_size: 10 })).toThrow(/test_size must be a number greater than 0 below 10, but is 10/);
  // Half a million rows of two labels take a moment, not the square of their number.
  const many = Dataset.from_list(Array.from({ length: 500_000 }, (_, i) => ({ label: i % 2 })));
  expect(many.train_test_split({ test_size: 4, stratify_by_column: 'label' }).test.filter(({ label }) => label === 1).length).toBe(2);
  const path = join(scratch(), 'rows.jsonl');
  writeFileSync(path, '{"a": 1}\n\n{"a": 2}\n');
  expect((await load_dataset(path)).train.length).toBe(2);
  writeFileSync(path, '{"a": 1}\n{"a": \n');
  await expect(load_dataset(path)).rejects.toThrow(/line 2 is not JSON/);
  await expect(load_dataset('fine-tunning-qa')).rejects.toThrow(/Did you mean 'fine-tuning-qa'/);
});

it('the packaged questions are many, without near-duplicates, and the held-out ones are no rephrasings', async () => {
  const { train, test } = await load_dataset('fine-tuning-qa');
  expect(train.length + test.length).toBeGreaterThanOrEqual(500);
  const stop = new Set(
    'what is a an the of in for does do how why which are to and it when should i my can that be with on as or'.split(' '),
  );
  const words = (text: string) => new Set((text.toLowerCase().match(/[a-z0-9_-]+/g) ?? []).filter((w) => !stop.has(w)));
  const overlap = (a: Set<string>, b: Set<string>) => [...a].filter((w) => b.has(w)).length / Math.max(1, new Set([...a, ...b]).size);
  const rows = [...train, ...test].map((row, i) => {
    const [q, a] = row.messages as Message[];
    expect([q.role, a.role]).toEqual(['user', 'assistant']);
    return {
      topic: row.topic,
      held: i >= train.length,
      question: words(q.content),
      answer: words(a.content),
      text: q.content,
      reply: a.content,
    };
  });
  expect(new Set(rows.map((r) => r.text)).size).toBe(rows.length);
  const topics = (held: boolean) => new Set(rows.filter((r) => r.held === held).map((r) => r.topic));
  expect([...topics(true)].filter((t) => topics(false).has(t))).toEqual([]);
  for (const [i, a] of rows.entries()) {
    expect(a.reply.length, a.text).toBeGreaterThan(20);
    for (const b of rows.slice(i + 1)) {
      expect(overlap(a.answer, b.answer), `${a.text} / ${b.text}`).toBeLessThan(0.6);
      // Across the split questions must differ in more than a word.
      expect(overlap(a.question, b.question), `${a.text} / ${b.text}`).toBeLessThan(a.held !== b.held ? 0.67 : 0.75);
    }
  }
});
