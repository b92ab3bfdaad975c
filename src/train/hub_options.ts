import { OptionError } from '../core/errors';
import { type Alias, checkFlags, checkOneOf, type Known, show } from '../core/options';
import { repoOf } from '../hub/repo';

export const STRATEGIES = ['end', 'every_save', 'checkpoint', 'all_checkpoints'] as const;

/** Whether and how a run goes to the Hub, under transformers' names. */
export interface HubTrainingOptions {
  /** Whether the model goes to the Hub at each checkpoint and at the end; a network that fails never ends the run. Default: false. */
  push_to_hub: boolean;
  /** The repository: 'owner/name', or 'name' under the token's account; null: as output_dir. Default: null. */
  hub_model_id: string | null;
  /**
   * When: 'end', 'every_save' (the model at each checkpoint too), 'checkpoint' (besides, what a run goes on from, in last-checkpoint) or
   * 'all_checkpoints' (each of them). Default: 'every_save'.
   */
  hub_strategy: Known<(typeof STRATEGIES)[number]>;
  /** An access token with the right to write; null: of the environment or the login. It is written nowhere. Default: null. */
  hub_token: string | null;
  /** Whether a repository that is made for it is private; null: as the account has it. Default: null. */
  hub_private_repo: boolean | null;
  /** Whether a checkpoint waits until the one before has arrived; false: it is left out then. Default: false. */
  hub_always_push: boolean;
  /** The branch; null: main. Default: null. */
  hub_revision: string | null;
}

export const HUB_TRAINING_DEFAULTS: HubTrainingOptions = {
  push_to_hub: false,
  hub_model_id: null,
  hub_strategy: 'every_save',
  hub_token: null,
  hub_private_repo: null,
  hub_always_push: false,
  hub_revision: null,
};

export const HUB_TRAINING_ALIASES: Record<string, Alias> = {
  push_to_hub_model_id: { to: 'hub_model_id' },
  push_to_hub_token: { to: 'hub_token' },
};

export function checkHubOptions(owner: string, o: HubTrainingOptions): void {
  const { hub_model_id: id, hub_strategy: strategy } = o;
  if (id !== null && (typeof id !== 'string' || !repoOf(id)))
    throw new OptionError(`${owner}: hub_model_id = ${show(id)} is no name of a repository: it is 'owner/name' or 'name'.`);
  checkOneOf(owner, 'hub_strategy', strategy, STRATEGIES);
  checkFlags(owner, o, 'push_to_hub', 'hub_always_push');
  if (o.hub_private_repo !== null && typeof o.hub_private_repo !== 'boolean')
    throw new OptionError(`${owner}: hub_private_repo = ${show(o.hub_private_repo)} must be true, false or null.`);
}

/** Settings as they may be written down and shown: without the token. */
export const withoutToken = <T extends object>(args: T): T =>
  (args as Partial<HubTrainingOptions>).hub_token ? { ...args, hub_token: '<HUB_TOKEN>' } : { ...args };
