import type { Command } from 'commander';

/** What a file of `commands/` exports: it adds arguments, options and what is done to its command. An action that fails throws; other exit codes than 0 go into process.exitCode. */
export interface CliCommand {
  define(command: Command): void;
}

/** The commands of `npx tunebook`, one file each; what a file needs is loaded when its command is called. */
export const COMMANDS: Record<string, { about: string; load: () => Promise<CliCommand> }> = {
  setup: { about: 'builds the native engine for this machine and tests it', load: () => import('./commands/setup.js') },
  sft: { about: 'trains a model on rows: the keys of `trl sft`, in a file or here', load: () => import('./commands/sft.js') },
  generate: { about: 'continues a text, or answers a question', load: () => import('./commands/generate.js') },
  chat: { about: 'a conversation with a model, in the terminal', load: () => import('./commands/chat.js') },
  serve: { about: "a model and its adapters over HTTP, by OpenAI's interface", load: () => import('./commands/serve.js') },
  inspect: { about: 'what an adapter adds to its base model, layer by layer', load: () => import('./commands/inspect.js') },
  merge: { about: 'merges an adapter into its base model, as files', load: () => import('./commands/merge.js') },
  estimate: { about: 'what training would take of the memory, before anything is loaded', load: () => import('./commands/estimate.js') },
};
