import { join } from 'node:path';
import { AutoModelForCausalLM, get_peft_model, LoraConfig, PeftModel, serve } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import type { Server } from '../../src/serve/serve';
import type { ServeOptions } from '../../src/serve/settings';
import { scratch, type TINY, tinyLlama, tinyTokenizer } from '../tiny';

/** A chat template that tells of tools, and calls as Qwen and Hermes have them. */
export const TEMPLATE =
  "{% if tools %}{{'<|im_start|>system\\n<tool_call>' + (tools | tojson) + '<|im_end|>\\n'}}{% endif %}" +
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') + '<|im_end|>' + '\\n'}}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

export interface Tiny {
  folder: string;
  model: CausalLM;
  /** Adapters of other values, saved. */
  adapters: Record<'one' | 'two' | 'three', string>;
}

/** A random model, its folder with tokenizer, and adapters that change what it writes. */
export async function tiny(config: Partial<typeof TINY> = {}): Promise<Tiny> {
  const folder = await tinyLlama(1, config);
  await tinyTokenizer({ chat_template: TEMPLATE }).save_pretrained(folder);
  const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
  const adapters: Record<string, string> = {};
  for (const [seed, name] of ['one', 'two', 'three'].entries()) {
    const peft = get_peft_model(model, new LoraConfig({ r: 4, lora_alpha: 16, target_modules: 'all-linear', init_lora_weights: false }), {
      seed,
    });
    adapters[name] = join(scratch('served'), name);
    await peft.save_pretrained(adapters[name]);
    peft.unload();
  }
  return { folder, model, adapters: adapters as Tiny['adapters'] };
}

/** A server of it on a free port. */
export const serveTiny = ({ model, adapters: { one, two } }: Tiny, options: Partial<ServeOptions> = {}): Promise<Server> =>
  serve({ model, port: 0, served_model_name: 'tiny', adapters: { one, two }, ...options });

/** What `generate` writes, as a text without end tokens, and its ids. */
export async function generated(model: CausalLM, path: string | undefined, ids: number[], options: object): Promise<number[]> {
  if (!path) return model.generate(ids, options);
  const peft = await PeftModel.from_pretrained(model, path);
  try {
    return await peft.generate(ids, options);
  } finally {
    peft.unload();
  }
}

export async function post(server: Server, path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return fetch(server.url + path, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: text });
}

export const json = async (response: Response | Promise<Response>) => (await (await response).json()) as any;
