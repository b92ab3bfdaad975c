import { OptionError } from '../core/errors';
import { checkNumber, readOptions, show } from '../core/options';
import type { CausalLM } from '../models/causal_lm';
import type { PeftModel } from '../peft/model';
import type { Tokenizer } from '../tokenizers/tokenizer';
import { POOLINGS, type Pooling } from './pooling';
import { PARSERS } from './tool_calls';

/** What `serve` takes; where vLLM has such an option it is vLLM's name. */
export interface ServeOptions {
  /** What is served: a model, an adapter around one, or what `from_pretrained` finds by this name. */
  model: string | CausalLM | PeftModel<CausalLM>;
  /** Its tokenizer; null: the one beside the model's files. Default: null. */
  tokenizer: Tokenizer | null;
  /** Adapters by the names that requests ask for them by: folders, or names on the Hub. Default: {}. */
  adapters: Record<string, string>;
  /** Who may reach it: '127.0.0.1' is this machine alone, '0.0.0.0' everybody who can reach the machine. Default: '127.0.0.1'. */
  host: string;
  /** 0: any that is free. Default: 8000. */
  port: number;
  /** What requests call the model; null: the name that it was loaded by. Default: null. */
  served_model_name: string | null;
  /** Requests must bring one of these keys (Authorization: Bearer), but for /health, /metrics and /openapi.json; null: none is asked for, and a server of this machine alone answers by its own names only (localhost, 127.0.0.1). Default: null. */
  api_key: string | string[] | null;
  /** Tokens of prompt and answer together; null: as many as the model has positions. Default: null. */
  max_model_len: number | null;
  /** Answers that are written at once; further requests wait. Default: 32. */
  max_num_seqs: number;
  /** Tokens that go through the model in a step: a long prompt is read in such pieces beside the answers. Default: 256. */
  max_num_batched_tokens: number;
  /** Prompts that may wait; more are refused with status 503. Default: 1024. */
  max_num_waiting: number;
  /** GiB that keys and values of all answers may come to; requests wait until there is room. Default: 4. */
  kv_cache_space: number;
  /** Adapters at once, at most 30. Default: 16. */
  max_loras: number;
  /** Whether clients may load and unload adapters; null: where host is this machine alone, or keys are asked for. Default: null. */
  allow_runtime_lora_updating: boolean | null;
  /** Bytes of a request. Default: 4194304. */
  body_limit: number;
  /** Seconds for an answer, with its waiting. Default: 600. */
  request_timeout: number;
  /** Seconds in which a reader must take what was sent, and a client send its request. Default: 60. */
  io_timeout: number;
  /** Seconds that `close` waits for answers that are being written. Default: 30. */
  shutdown_timeout: number;
  /** How /v1/embeddings makes one vector of a text's final states: 'mean', 'lasttoken' or 'cls'; null: as the model's sentence-transformers files say, and where there are none it has no embeddings. Default: null. */
  pooling: Pooling | null;
  /** How the model writes calls of tools: 'hermes', 'mistral', 'llama3_json', 'granite'; null: what its chat template says. Default: null. */
  tool_call_parser: string | null;
}

const DEFAULTS: Omit<ServeOptions, 'model'> & { model: null } = {
  model: null,
  tokenizer: null,
  adapters: {},
  host: '127.0.0.1',
  port: 8000,
  served_model_name: null,
  api_key: null,
  max_model_len: null,
  max_num_seqs: 32,
  max_num_batched_tokens: 256,
  max_num_waiting: 1024,
  kv_cache_space: 4,
  max_loras: 16,
  allow_runtime_lora_updating: null,
  body_limit: 2 ** 22,
  request_timeout: 600,
  io_timeout: 60,
  shutdown_timeout: 30,
  pooling: null,
  tool_call_parser: null,
};

const NUMBERS: [keyof ServeOptions, Parameters<typeof checkNumber>[3], string][] = [
  ['port', { integer: true, min: 0, max: 65535 }, '0 takes any that is free.'],
  ['max_num_seqs', { integer: true, min: 1 }, 'It is how many answers are written at once.'],
  ['max_num_batched_tokens', { integer: true, min: 1 }, 'It is how many tokens go through the model in a step.'],
  ['max_num_waiting', { integer: true, min: 1 }, 'It is how many prompts may wait.'],
  ['kv_cache_space', { above: 0 }, 'It is in GiB.'],
  ['max_loras', { integer: true, min: 0, max: 30 }, 'It is how many adapters there may be at once.'],
  ['body_limit', { integer: true, min: 1 }, 'It is in bytes.'],
  ['request_timeout', { above: 0 }, 'It is in seconds.'],
  ['io_timeout', { above: 0 }, 'It is in seconds.'],
  ['shutdown_timeout', { min: 0 }, 'It is in seconds.'],
];

/** This machine alone can reach a server there. */
export const isLoopback = (host: string): boolean => /^(127(\.\d+){3}|::1|localhost)$/.test(host);

/** The options as given, checked, over their defaults. */
export function serveSettings(given: Partial<ServeOptions>): ServeOptions {
  const o = readOptions('serve', given, DEFAULTS as unknown as ServeOptions);
  if (!o.model)
    throw new OptionError("serve needs a model: serve({ model }), or its name: serve({ model: 'HuggingFaceTB/SmolLM2-135M-Instruct' }).");
  for (const [name, rule, remedy] of NUMBERS) checkNumber('serve', name, o[name], rule, remedy);
  if (o.max_model_len !== null)
    checkNumber('serve', 'max_model_len', o.max_model_len, { integer: true, min: 2 }, 'It counts the tokens of prompt and answer.');
  const fault = (name: keyof ServeOptions, what: string) => new OptionError(`serve: ${name} is ${show(o[name])}; ${what}`);
  if (typeof o.host !== 'string' || !o.host) throw fault('host', "it is an address: '127.0.0.1', '0.0.0.0'.");
  if (typeof o.adapters !== 'object' || !o.adapters || !Object.values(o.adapters).every((path) => typeof path === 'string' && path))
    throw fault('adapters', "it has a folder or Hub name for each name: { polite: 'out/polite' }.");
  const keys = [o.api_key ?? []].flat();
  if (!keys.every((key) => typeof key === 'string' && key.length > 0))
    throw new OptionError('serve: api_key must be a text, or a list of texts, none of them empty.');
  if (o.pooling !== null && !POOLINGS.includes(o.pooling)) throw fault('pooling', `it can be ${POOLINGS.map(show).join(', ')}.`);
  const parsers = Object.keys(PARSERS);
  if (o.tool_call_parser !== null && !parsers.includes(o.tool_call_parser))
    throw fault('tool_call_parser', `it can be ${parsers.map(show).join(', ')}.`);
  return o;
}

/** Whether clients may load and unload adapters. */
export const mayUpdate = ({ allow_runtime_lora_updating: said, host, api_key }: ServeOptions): boolean =>
  said ?? (isLoopback(host) || (api_key !== null && api_key.length > 0));
