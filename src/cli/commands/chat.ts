import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import '../listening';
import { OptionError } from '../../core/errors';
import { TextStreamer } from '../../generate/streamer';
import type { Message } from '../../tokenizers/tokenizer';
import { addOptions, declared } from '../options';
import { GENERATION, LOADING, loadWriter } from '../writer';

async function chat(model: string, { system, ...given }: { system?: string } & Record<string, unknown>): Promise<void> {
  const { pipe, options } = await loadWriter(model, given);
  if (!pipe.tokenizer.chat_template)
    throw new OptionError(`${model} has no chat template: it continues texts. npx tunebook generate ${model} 'a text' does that.`);
  const begin: Message[] = system ? [{ role: 'system', content: system }] : [];
  let messages = [...begin];
  let goesOn = true;
  const streamer = new TextStreamer(pipe.tokenizer);
  const lines = createInterface({ input: process.stdin, output: process.stdout, prompt: '> ' });
  let answering = false;
  lines.on('SIGINT', () => {
    if (answering) goesOn = false;
    else lines.close();
  });
  console.log('/reset begins anew, /exit or Ctrl+D ends; Ctrl+C ends an answer.');
  lines.prompt();
  for await (const line of lines) {
    const text = line.trim();
    if (text === '/exit') break;
    if (text === '/reset') messages = [...begin];
    else if (text) {
      [goesOn, answering] = [true, true];
      messages.push({ role: 'user', content: text });
      const [{ generated_text }] = await pipe(messages, { ...options, streamer, should_continue: () => goesOn });
      messages = generated_text;
      answering = false;
    }
    lines.prompt();
  }
  lines.close();
}

/** A conversation in the terminal. */
export function define(command: Command): void {
  command
    .argument('<model>', 'a name of the Hub, a folder, a .gguf file, or the folder of a saved adapter')
    .option('--system <text>', 'what the model is told before the conversation');
  addOptions(command, [...LOADING, ...declared('generate/generation_fields', 'GenerationSettings'), ...GENERATION]);
  command.action(chat);
}
