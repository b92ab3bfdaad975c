import type { Command } from 'commander';

const scripts = () => ({
  ...(require('../../../scripts/native.cjs') as typeof import('../../../scripts/native.cjs')),
  ...(require('../../../scripts/node.cjs') as { untried(): string | undefined }),
  ...(require('../../../scripts/selftest.cjs') as { selfTest(): Promise<void> }),
});

/** Builds the native engine (about a minute, once for each machine) and tests it. */
export function define(command: Command): void {
  command
    .addHelpText('after', '\nIt takes about two minutes, once for each machine, and needs Python 3.10+ (for pip) and a C++ compiler.')
    .action(async () => {
      const { ensureNative, instructionSet, selfTest, untried } = scripts();
      const note = untried();
      if (note) console.log(note);
      await ensureNative((text) => console.log(text));
      console.log('self-test');
      await selfTest();
      console.log(`The native engine is ready (${instructionSet()}).`);
    });
}
