import { inspect } from 'node:util';
import type { FastifyInstance } from 'fastify';
import { OptionError } from '../core/errors';
import { show } from '../core/options';
import { DISPLAY, optionsShown, type Shown } from '../core/shown';
import { AutoModelForCausalLM, AutoTokenizer } from '../models/auto';
import { CausalLM } from '../models/causal_lm';
import { baseOf, type PeftModel } from '../peft/model';
import { appOf } from './app';
import { embedsOf } from './pooling';
import { Service } from './service';
import { type ServeOptions, serveSettings } from './settings';

export type { ServeOptions } from './settings';

/** Servers of this process by their ports: a cell that is run again takes the place of its own. */
const running = new Map<number, Server>();

/** A model that answers over HTTP. */
export class Server {
  private closing?: Promise<void>;

  private constructor(
    private readonly service: Service,
    private readonly app: FastifyInstance,
    /** Where it is. */
    readonly url: string,
    readonly port: number,
  ) {}

  static async start(service: Service): Promise<Server> {
    const { host, port } = service.options;
    await running.get(port)?.close();
    const app = await appOf(service);
    try {
      await app.listen({ host, port });
    } catch (error) {
      await app.close();
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EADDRINUSE')
        throw new OptionError(`serve: port ${port} is taken by another process. Choose another: serve({ port: 0 }) takes any.`);
      if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
        throw new OptionError(`serve: this machine has no address ${show(host)}. Use '127.0.0.1', or '0.0.0.0' for all.`);
      if (code === 'EACCES') throw new OptionError(`serve: port ${port} is not for everybody. Choose one above 1023.`);
      throw error;
    }
    const { port: taken } = app.server.address() as { port: number };
    const at = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
    const server = new Server(service, app, `http://${at.includes(':') ? `[${at}]` : at}:${taken}`, taken);
    running.set(taken, server);
    return server;
  }

  /** The names that requests may ask for. */
  get models(): string[] {
    return [this.service.name, ...this.service.adapters.list.map(({ name }) => name)];
  }

  /** Answers that are being written, and that wait. */
  get load(): { running: number; waiting: number } {
    const { running, waiting } = this.service.batch.counts;
    return { running, waiting };
  }

  /** Loads an adapter by path or Hub id, for requests that ask for it by this name. */
  load_lora_adapter(name: string, path: string): Promise<void> {
    if (name === this.service.name)
      throw new OptionError(`load_lora_adapter: the model itself is called ${show(name)}. Choose another name.`);
    return this.service.adapters.load(name, path);
  }

  /** Takes an adapter out of the names; what it is answering is written to its end. */
  unload_lora_adapter(name: string): void {
    this.service.adapters.unload(name);
  }

  /** No more requests are taken; resolves when those that are there are answered, at the latest after `shutdown_timeout`. The model is as it was. */
  close(): Promise<void> {
    this.closing ??= this.end();
    return this.closing;
  }

  private async end(): Promise<void> {
    const { batch, options, adapters } = this.service;
    const answered = batch.close(options.shutdown_timeout);
    const closed = this.app.close();
    await answered;
    // What is left are readers that do not read.
    const late = setTimeout(() => this.app.server.closeAllConnections(), 1000 * Math.min(5, options.shutdown_timeout));
    await closed;
    clearTimeout(late);
    await adapters.close();
    if (running.get(this.port) === this) running.delete(this.port);
  }

  private get shown() {
    const { url, models, load } = this;
    return { url, models, ...load };
  }
  [inspect.custom](): string {
    return this[DISPLAY]()['text/plain'];
  }
  [DISPLAY](): Shown {
    return optionsShown('Server', this.shown);
  }
}

/**
 * Answers over HTTP by OpenAI's interface, until `close()`: chat completions with tools, completions, embeddings, models with adapters. Resolves as soon as it
 * answers, so that a cell goes on; a cell that is run again takes the place of the server it started. Requests are written together
 * (continuous batching), each with the adapter that it names. What is trained meanwhile is answered with from the next request on.
 * `const server = await serve({ model: trainer.model, adapters: { polite: 'out/polite' } });`
 */
export async function serve(options: Partial<ServeOptions>): Promise<Server> {
  const o = serveSettings(options);
  const loaded = typeof o.model === 'string' ? await AutoModelForCausalLM.from_pretrained(o.model) : o.model;
  const model = baseOf(loaded as CausalLM | PeftModel<CausalLM>);
  if (!(model instanceof CausalLM))
    throw new OptionError('serve takes a model that writes: one from AutoModelForCausalLM.from_pretrained, or its name.');
  const path = model.config._name_or_path;
  const tokenizer = o.tokenizer ?? (await AutoTokenizer.from_pretrained(path));
  const service = new Service(model, tokenizer, o.served_model_name ?? path, o, await embedsOf(path, o.pooling));
  try {
    for (const [name, from] of Object.entries(o.adapters)) {
      if (name === service.name) throw new OptionError(`serve: the adapter ${show(name)} has the model's own name. Choose another.`);
      await service.adapters.load(name, from);
    }
    return await Server.start(service);
  } catch (error) {
    await service.adapters.close();
    throw error;
  }
}
