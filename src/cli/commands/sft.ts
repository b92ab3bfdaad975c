import type { Command } from 'commander';
import '../listening';
import { RUN_ALIASES } from '../../trainers/run_options';
import { readYamlFile, takeEnv } from '../../trainers/run_yaml';
import { SFTTrainer } from '../../trainers/sft';
import { SFT_NAMES } from '../../trainers/sft_config';
import { EXIT } from '../exit';
import { addOptions, declared } from '../options';

const EXAMPLES = `
Keys go before those of the file; older names are taken too, with a warning. A file may set environment variables under env.

  npx tunebook sft --config run.yaml --max_steps 200
  npx tunebook sft --model_name_or_path HuggingFaceTB/SmolLM2-135M-Instruct --dataset_name fine-tuning-qa \\
      --use_peft --lora_target_modules all-linear --assistant_only_loss --output_dir out/qa

Ctrl+C ends it after the step that it is in, saved; a second one at once. Exit code: 0 when it is done, 130 when it was
interrupted, 1 when it failed, 2 for a command that cannot be read.`;

/** The figures of a log as a line of JSON on stdout; the line of progress stays on stderr. */
const printer = {
  on_log(_: unknown, state: { global_step: number; epoch?: number }, __: unknown, { logs }: { logs: Record<string, number> }) {
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
    console.log(JSON.stringify({ ...logs, step: state.global_step }));
  },
};

async function train({ config, ...given }: { config?: string } & Record<string, unknown>): Promise<void> {
  const file = config === undefined ? {} : takeEnv(readYamlFile(config), config);
  const trainer = await SFTTrainer.fromConfig({ ...file, ...given }, { callbacks: [printer] });
  let interrupts = 0;
  process.on('SIGINT', () => ++interrupts > 1 && process.exit(EXIT.interrupted));
  process.on('SIGTERM', () => void trainer.stop());
  const { stopped, metrics } = await trainer.train();
  if (stopped) process.exitCode = EXIT.interrupted;
  else {
    await trainer.save_model();
    console.log(JSON.stringify(metrics));
  }
}

/** Trains a model, with the keys of `trl sft`. */
export function define(command: Command): void {
  command.option('--config <file>', 'a YAML or JSON file of options');
  const own = [
    ...declared('trainers/run_options', 'RunOptions'),
    ...declared('trainers/sft_config', 'SFTOptions'),
    ...declared('train/options', 'TrainingOptions'),
    ...declared('train/generated', 'GenerationOptions'),
    ...declared('train/hub_options', 'HubTrainingOptions'),
  ];
  addOptions(command, own, [...SFT_NAMES, ...Object.keys(RUN_ALIASES)]);
  command.addHelpText('after', EXAMPLES).action(train);
}
