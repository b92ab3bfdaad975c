import type { Command } from 'commander';
import '../listening';
import { OptionError } from '../../core/errors';
import { type ServeOptions, serve as start } from '../../serve/serve';
import { addOptions, declared } from '../options';
import { baseAndAdapter, LOADING, loadWriter } from '../writer';

/** Adapters as vLLM's command line names them: name=path. */
function adaptersOf(given: string[]): Record<string, string> {
  return Object.fromEntries(
    given.map((one) => {
      const at = one.indexOf('=');
      if (at < 1 || at === one.length - 1)
        throw new OptionError(`serve: adapters is '${one}'; it is name=path: --adapters polite=out/polite.`);
      return [one.slice(0, at), one.slice(at + 1)];
    }),
  );
}

interface Given extends Record<string, unknown> {
  adapters?: string[];
  adapter?: string;
  served_model_name?: string;
}

/** What is given answers by the name that it is given by, be it a model or an adapter, whose base model answers by its own. */
async function serve(given: string, { adapters = [], adapter: beside, served_model_name: name, ...rest }: Given): Promise<void> {
  const { base, adapter } = await baseAndAdapter(given, beside);
  const isModel = base === given;
  const { pipe, options } = await loadWriter(base, rest);
  const server = await start({
    ...(options as Partial<ServeOptions>),
    model: pipe.model,
    tokenizer: pipe.tokenizer,
    served_model_name: (isModel ? name : undefined) ?? base,
    adapters: { ...(adapter && { [(isModel ? undefined : name) ?? adapter]: adapter }), ...adaptersOf(adapters) },
  });
  console.log(`${server.url}/v1 answers as ${server.models.join(', ')}. Ctrl+C ends it.`);
  await new Promise<void>((resolve) => {
    let asked = false;
    const end = () => {
      // Who asks again does not wait for what is being written.
      if (asked) process.exit(130);
      asked = true;
      const { running, waiting } = server.load;
      if (running + waiting) console.log(`Closing when ${running + waiting} answers are written; Ctrl+C again ends at once.`);
      server.close().then(resolve);
    };
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, end);
  });
}

/** A model that answers over HTTP. */
export function define(command: Command): void {
  command
    .argument('<model>', 'a name of the Hub, a folder, a .gguf file, or the folder of a saved adapter')
    .option('--adapters <name=path...>', 'Adapters by the names that requests ask for them by.');
  const own = ['model', 'tokenizer', 'adapters'];
  addOptions(command, [...LOADING, ...declared('serve/settings', 'ServeOptions').filter(({ name }) => !own.includes(name))]);
  command.action(serve);
}
