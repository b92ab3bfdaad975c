import { Command, CommanderError } from 'commander';
import { InterruptedError, TunebookError } from '../core/errors';
import { COMMANDS } from './commands';
import { EXIT } from './exit';
import { plainNames } from './options';

/** Errors that a sentence says. */
const isTold = (error: unknown): error is Error => error instanceof TunebookError || (error as Error)?.constructor?.name === 'SetupError';

function programOf(): Command {
  const program = new Command('tunebook')
    .usage('<command> [options]')
    .description('Fine-tuning of large language models. `npx tunebook <command> --help` says what a command takes.')
    .helpCommand(false)
    .exitOverride()
    .configureHelp({ subcommandTerm: (command) => command.name(), optionDescription: ({ description }) => description });
  for (const [name, { about }] of Object.entries(COMMANDS))
    program.command(name).description(about).showHelpAfterError(`npx tunebook ${name} --help lists what it takes.`);
  return program;
}

/** Runs `npx tunebook` with these arguments; returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  const program = programOf();
  const command = program.commands.find((one) => one.name() === argv[0]);
  try {
    if (command) (await COMMANDS[command.name()].load()).define(command);
    else if (!argv.length) program.outputHelp();
    if (argv.length) await program.parseAsync(command ? plainNames(argv, command) : [...argv], { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode ? EXIT.usage : 0;
    if (error instanceof InterruptedError) {
      console.error(error.message);
      return EXIT.interrupted;
    }
    if (!isTold(error)) throw error;
    console.error(error instanceof TunebookError ? `${error.name}: ${error.message}` : error.message);
    return EXIT.failed;
  }
}
