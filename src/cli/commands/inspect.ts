import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import '../listening';
import { inspect } from '../../notebook/inspect';

interface Given {
  compare?: string;
  base_model?: string;
  checkpoints?: string[];
  png?: string;
  json?: boolean;
}

async function look(adapter: string, { png, json, compare = undefined, ...given }: Given): Promise<void> {
  const report = await inspect(adapter, { ...given, ...(compare !== undefined && { compare }) });
  const bundle = report.bundle();
  if (png !== undefined) writeFileSync(png, Buffer.from(String(bundle['image/png']), 'base64'));
  console.log(json ? JSON.stringify(report.data, null, 2) : bundle['text/plain']);
}

/** What an adapter adds to its base model. */
export function define(command: Command): void {
  command
    .argument('<adapter>', 'the folder of a saved adapter, or of a run')
    .option('--base_model <model>', 'its base model, where it is not found by the name that the adapter has for it')
    .option('--compare <adapter>', 'another adapter: how much the two share')
    .option('--checkpoints <folders...>', 'checkpoints, to see how it grew; by default those beside it')
    .option('--png <file>', 'write the picture of all modules there')
    .option('--json', 'print all figures as JSON')
    .action(look);
}
