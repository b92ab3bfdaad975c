import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import '../listening';
import { OptionError } from '../../core/errors';
import { TextStreamer } from '../../generate/streamer';
import { addOptions, declared } from '../options';
import { GENERATION, LOADING, loadWriter } from '../writer';

interface Given extends Record<string, unknown> {
  plain?: boolean;
  system?: string;
}

async function write(model: string, prompt: string | undefined, { plain, system, ...given }: Given): Promise<void> {
  const text = prompt ?? (process.stdin.isTTY ? undefined : readFileSync(0, 'utf8').trimEnd());
  if (!text) throw new OptionError("generate needs a prompt: npx tunebook generate MODEL 'a question', or a text on its standard input.");
  const idle = (why: string) => new OptionError(`generate: --system has no effect ${why}: put what it says before the text itself.`);
  if (plain && system !== undefined) throw idle('with --plain, which continues the text as it is');
  const { pipe, options } = await loadWriter(model, given);
  if (!pipe.tokenizer.chat_template && system !== undefined) throw idle(`since ${model} has no chat template`);
  const streamer = new TextStreamer(pipe.tokenizer);
  if (plain || !pipe.tokenizer.chat_template) await pipe(text, { ...options, streamer });
  else await pipe([...(system ? [{ role: 'system', content: system }] : []), { role: 'user', content: text }], { ...options, streamer });
}

/** Continues a text, or answers a question. */
export function define(command: Command): void {
  command
    .argument('<model>', 'a name of the Hub, a folder, a .gguf file, or the folder of a saved adapter')
    .argument('[prompt]', 'the question or text; without it, standard input')
    .option('--plain', "continue the text itself, without the model's chat template")
    .option('--system <text>', 'what the model is told before the question');
  addOptions(command, [...LOADING, ...declared('generate/generation_fields', 'GenerationSettings'), ...GENERATION]);
  command.action(write);
}
