import { basename } from 'node:path';
import { HubError } from '../../core/errors';
import { openRepo } from '../../hub/upload';
import type { TrainingOptions } from '../config';
import { clearStaged, pushOptions, pushStaged, repoOfRun, stage } from '../publish';
import { type Run, warn } from '../run';
import type { TrainerState } from '../state';
import { type CallbackContext, TrainerCallback, type TrainerControl } from './callback';

const SAVED = 'Nothing is lost: what was trained is saved here, and `await trainer.push_to_hub()` sends it.';

/** Sends the model to the Hub at checkpoints, while training goes on, and at the end (push_to_hub, hub_strategy). */
export class PushCallback extends TrainerCallback {
  private pushing?: Promise<void>;

  /** A token that may not write is told before the first step; a network that is away now may be there later. */
  override async on_train_begin(args: TrainingOptions, _: TrainerState, __: TrainerControl, { run }: CallbackContext): Promise<void> {
    if (!args.push_to_hub) return;
    await clearStaged(args.output_dir);
    try {
      await openRepo(repoOfRun(args), pushOptions(args));
    } catch (error) {
      if (!(error instanceof HubError) || (error.status !== undefined && error.status < 500 && error.status !== 429)) throw error;
      warn(run as Run, error.message, 'Training goes on; it is tried again at the next checkpoint and at the end.');
    }
  }

  override async on_save(args: TrainingOptions, state: TrainerState, _: TrainerControl, context: CallbackContext): Promise<void> {
    const { run, trainer } = context;
    const checkpoint = run?.checkpoints.at(-1);
    if (!args.push_to_hub || args.hub_strategy === 'end' || !run || !checkpoint || state.global_step >= state.max_steps) return;
    if (this.pushing && !args.hub_always_push) return;
    await this.pushing;
    const into = { checkpoint: 'last-checkpoint', all_checkpoints: basename(checkpoint) }[args.hub_strategy as string] ?? null;
    const message = `Training in progress, ${args.save_strategy === 'epoch' ? `epoch ${Math.floor(state.epoch)}` : `step ${state.global_step}`}`;
    const push = async () => {
      const folder = await stage(checkpoint, into);
      await pushStaged(folder, args, message, (repo) => trainer.create_model_card(folder, repo));
    };
    this.pushing = push()
      .catch((error: Error) => warn(run, error.message, SAVED))
      .finally(() => {
        this.pushing = undefined;
      });
  }

  override async on_train_end(
    args: TrainingOptions,
    _: TrainerState,
    __: TrainerControl,
    { run, trainer }: CallbackContext,
  ): Promise<void> {
    if (!args.push_to_hub) return;
    await this.pushing;
    try {
      await trainer.push_to_hub();
    } catch (error) {
      warn(run as Run, (error as Error).message, SAVED);
    }
  }
}
