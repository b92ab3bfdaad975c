import type { CausalLM } from '../../src/models/causal_lm';
import type { Server } from '../../src/serve/serve';
import { tinyTokenizer } from '../tiny';
import { generated, json, post, type Tiny } from './served';

const WORDS = [
  'Hello',
  'What is it?',
  'a',
  'The quick brown fox jumps over the lazy dog.',
  'x'.repeat(60),
  '{"a": 1}',
  'Once upon a time there was',
  '1, 2, 3',
];
const MODELS = ['tiny', 'one', 'two'] as const;
const tokenizer = tinyTokenizer();

/** What each model and adapter says to each of the prompts. */
export async function expectedOf(model: CausalLM, adapters: Tiny['adapters']): Promise<Map<string, string>> {
  const all = new Map<string, string>();
  for (const name of MODELS)
    for (const prompt of WORDS) {
      const path = name === 'tiny' ? undefined : adapters[name];
      const ids = await generated(model, path, tokenizer.encode(prompt), { max_new_tokens: 16 });
      all.set(name + prompt, tokenizer.decode(ids, { skip_special_tokens: true }));
    }
  return all;
}

async function streamedText(response: Response): Promise<string> {
  const events = (await response.text()).split('\n\n').filter((line) => line.startsWith('data: {'));
  return events.map((line) => JSON.parse(line.slice(6)).choices[0].text).join('');
}

export interface Loaded {
  /** Requests by what they came to. */
  statuses: Record<string, number>;
  /** Answers that were not what this request alone would have got. */
  wrong: string[];
  /** Bytes of memory after a quarter of the requests, and at the end. */
  memory: [quarter: number, end: number];
}

/**
 * Many requests at once of every sort: whole and streamed answers of the model and its adapters, prompts that are too long, requests that make no sense, clients that
 * leave before the end, and an adapter that comes and goes.
 */
export async function load(
  server: Server,
  expected: Map<string, string>,
  three: string,
  requests: number,
  atOnce: number,
): Promise<Loaded> {
  const found: Loaded = { statuses: {}, wrong: [], memory: [0, 0] };
  const count = (what: string | number) => (found.statuses[what] = (found.statuses[what] ?? 0) + 1);
  const one = async (i: number) => {
    const [model, prompt] = [MODELS[i % 3], WORDS[(i * 5) % WORDS.length]];
    const body = { model, prompt, max_tokens: 16, temperature: 0 };
    const kind = i % 11;
    if (kind === 0) return count((await post(server, '/v1/completions', { ...body, prompt: 'x'.repeat(2000) })).status);
    if (kind === 1) return count((await post(server, '/v1/completions', { ...body, prompt: { a: i } })).status);
    if (kind === 2) {
      const leaving = new AbortController();
      const asked = fetch(`${server.url}/v1/completions`, {
        ...{ method: 'POST', headers: { 'content-type': 'application/json' }, signal: leaving.signal },
        body: JSON.stringify({ ...body, max_tokens: 400, ignore_eos: true, stream: true }),
      });
      setTimeout(() => leaving.abort(), i % 40);
      return asked
        .then((answer) => answer.text())
        .then(
          () => count('whole'),
          () => count('left'),
        );
    }
    if (kind === 3) {
      const load = await post(server, '/v1/load_lora_adapter', { lora_name: 'three', lora_path: three });
      await load.text();
      const answer = await post(server, '/v1/completions', { ...body, model: 'three' });
      const unload = await post(server, '/v1/unload_lora_adapter', { lora_name: 'three' });
      // Others may have loaded it, or unloaded it, meanwhile.
      if (![200, 400].includes(load.status) || ![200, 404].includes(answer.status) || ![200, 404].includes(unload.status))
        found.wrong.push(`adapter: ${load.status} ${answer.status} ${unload.status}`);
      return count(answer.status === 200 ? 'adapter' : 'no adapter');
    }
    const stream = kind % 2 === 0;
    const answer = await post(server, '/v1/completions', { ...body, stream });
    if (answer.status === 200) {
      const text = stream ? await streamedText(answer) : (await json(answer)).choices[0].text;
      if (text !== expected.get(model + prompt)) found.wrong.push(`${model} ${prompt}: ${text}`);
    }
    return count(answer.status);
  };
  let next = 0;
  const client = async () => {
    while (next < requests) {
      const i = next++;
      if (i === Math.floor(requests / 4)) found.memory[0] = process.memoryUsage.rss();
      await one(i);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, client));
  found.memory[1] = process.memoryUsage.rss();
  return found;
}
