import { existsSync, readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { HubError, OptionError } from '../core/errors';
import { tableHtml } from '../core/html';
import { checkNumber, readOptions, show } from '../core/options';
import { DISPLAY, type Shown, withChart } from '../core/shown';
import type { Server } from './serve';

/** What `measure` takes. */
export interface MeasureOptions {
  /** What to ask for; null: the first that /v1/models names. Default: null. */
  model: string | null;
  /** Numbers of clients, each of which asks again as soon as it is answered. Default: [1, 4, 16]. */
  clients: number[];
  /** Requests of each client. Default: 3. */
  requests: number;
  /** Tokens of each answer; end tokens end none. Default: 64. */
  max_tokens: number;
  /** What is continued; a number stands before it, so that no two prompts begin alike. */
  prompt: string;
  /** A key, where the server asks for one. Default: null. */
  api_key: string | null;
  /** The server's process, where its figures do not tell its memory. Default: null. */
  pid: number | null;
}

const DEFAULTS: MeasureOptions = {
  model: null,
  clients: [1, 4, 16],
  requests: 3,
  max_tokens: 64,
  prompt: ' things to know before a journey by train through the mountains in winter, told by someone who has made it many times:',
  api_key: null,
  pid: null,
};

/** With so many clients at once. */
export interface Measured {
  clients: number;
  tokens_per_second: number;
  requests_per_second: number;
  /** Median and 95th percentile of the time to the first token. */
  first_token_ms: number;
  first_token_ms_p95: number;
  /** Most memory of the server's process so far; null where it does not tell. */
  peak_memory_mib: number | null;
}

/** How fast a server is, as table and chart. */
export class Measurement {
  constructor(
    readonly endpoint: string,
    readonly model: string,
    readonly rows: Measured[],
  ) {}

  private get shownRows(): Record<string, unknown>[] {
    return this.rows.map((row) =>
      Object.fromEntries(Object.entries(row).map(([name, value]) => [name, value === null ? '' : Number(value.toPrecision(4))])),
    );
  }

  [inspect.custom](): string {
    const head = `${this.model} at ${this.endpoint}`;
    const lines = this.shownRows.map(
      (row) =>
        `  ${Object.entries(row)
          .map(([name, value]) => `${name}: ${value}`)
          .join(', ')}`,
    );
    return [head, ...lines].join('\n');
  }

  async [DISPLAY](): Promise<Shown & { 'image/png'?: string }> {
    const shown = { 'text/plain': this[inspect.custom](), 'text/html': tableHtml(this.shownRows) };
    return withChart(shown, {
      kind: 'serving',
      data: { rows: this.rows },
      alt: 'Tokens and requests a second and the time to the first token, by number of clients',
    });
  }
}

interface Target {
  url: string;
  headers: Record<string, string>;
}

async function asked(url: string, init?: RequestInit): Promise<Response> {
  const answer = await fetch(url, init).catch((error: Error) => {
    throw new HubError(`measure: ${url} does not answer (${(error.cause as Error)?.message ?? error.message}). Is the server running?`);
  });
  if (!answer.ok) throw new HubError(`measure: ${url} answers ${answer.status}: ${(await answer.text()).slice(0, 300)}`, answer.status);
  return answer;
}

/** One streamed answer: ms to its first token, and how many there were. */
async function one({ url, headers }: Target, body: object): Promise<{ first: number; tokens: number }> {
  const start = performance.now();
  const answer = await asked(`${url}/v1/completions`, { method: 'POST', headers, body: JSON.stringify(body) });
  let [first, chunks, rest] = [0, 0, ''];
  let tokens: number | undefined;
  const decoder = new TextDecoder();
  for await (const bytes of answer.body as AsyncIterable<Uint8Array>) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n');
    rest = lines.pop() as string;
    for (const line of lines) {
      if (!line.startsWith('data: {')) continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new HubError(`measure: ${url} broke off: ${event.error.message}`);
      if (event.choices?.length) first ||= performance.now() - start;
      chunks += event.choices?.length ?? 0;
      tokens = event.usage?.completion_tokens ?? tokens;
    }
  }
  return { first, tokens: tokens ?? chunks };
}

async function peakMemory({ url }: Target, pid: number | null): Promise<number | null> {
  if (pid !== null) {
    // Systems without /proc do not tell.
    if (!existsSync('/proc/self/status')) return null;
    const path = `/proc/${pid}/status`;
    if (!existsSync(path)) throw new OptionError(`measure: there is no process ${show(pid)}. Give the pid of the server, or leave it out.`);
    const kib = /^VmHWM:\s+(\d+)/m.exec(readFileSync(path, 'utf8'))?.[1];
    return kib === undefined ? null : Number(kib) / 1024;
  }
  const text = await fetch(`${url}/metrics`).then(
    (answer) => (answer.ok ? answer.text() : ''),
    () => '',
  );
  const bytes = /^tunebook_peak_memory_bytes (\S+)/m.exec(text)?.[1];
  return bytes === undefined ? null : Number(bytes) / 2 ** 20;
}

const quantile = (values: number[], q: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))];

/**
 * Measures a server that speaks OpenAI's interface, ours or another: time to the first token, tokens and requests a second with 1, 4 and 16 clients at once, and
 * memory, as table and chart. `endpoint` is its address, or what `serve` gave. A server in the same process shares it with the clients: for
 * figures that count, start it by `npx tunebook serve`.
 */
export async function measure(endpoint: string | Pick<Server, 'url'>, options: Partial<MeasureOptions> = {}): Promise<Measurement> {
  const o = readOptions('measure', options, DEFAULTS);
  const url = (typeof endpoint === 'string' ? endpoint : endpoint?.url)?.replace(/\/+(v1\/*)?$/, '');
  if (!url || !/^https?:\/\//.test(url))
    throw new OptionError(`measure takes a server's address ('http://127.0.0.1:8000'), or what serve gave, but got ${show(endpoint)}.`);
  if (!Array.isArray(o.clients) || !o.clients.length)
    throw new OptionError(`measure: clients is ${show(o.clients)}; it is a list of numbers: [1, 4, 16].`);
  for (const n of o.clients) checkNumber('measure', 'clients', n, { integer: true, min: 1 }, 'Each is how many clients ask at once.');
  for (const name of ['requests', 'max_tokens'] as const)
    checkNumber('measure', name, o[name], { integer: true, min: 1 }, 'It is a whole number.');
  const headers = { 'content-type': 'application/json', ...(o.api_key === null ? {} : { authorization: `Bearer ${o.api_key}` }) };
  const target = { url, headers };
  const model = o.model ?? ((await (await asked(`${url}/v1/models`, { headers })).json()) as { data: { id: string }[] }).data[0].id;
  await peakMemory(target, o.pid);
  let number = 0;
  const body = () => ({
    ...{ model, prompt: `${1000 + number++}${o.prompt}`, max_tokens: o.max_tokens, temperature: 0 },
    ...{ stream: true, stream_options: { include_usage: true }, ignore_eos: true },
  });
  await one(target, body());
  const rows: Measured[] = [];
  for (const clients of o.clients) {
    const all: { first: number; tokens: number }[] = [];
    const start = performance.now();
    const client = async () => {
      for (let i = 0; i < o.requests; i++) all.push(await one(target, body()));
    };
    await Promise.all(Array.from({ length: clients }, client));
    const seconds = (performance.now() - start) / 1000;
    const first = all.map((answer) => answer.first);
    rows.push({
      clients,
      tokens_per_second: all.reduce((n, { tokens }) => n + tokens, 0) / seconds,
      requests_per_second: all.length / seconds,
      first_token_ms: quantile(first, 0.5),
      first_token_ms_p95: quantile(first, 0.95),
      peak_memory_mib: await peakMemory(target, o.pid),
    });
  }
  return new Measurement(url, model, rows);
}
