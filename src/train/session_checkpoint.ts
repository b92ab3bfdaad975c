import { basename } from 'node:path';
import { emit } from '../core/events';
import { bestCheckpoint } from './best';
import { changedSettings, loadCheckpoint, saveCheckpoint } from './checkpoint';
import type { TrainedModel } from './gradients';
import { withoutToken } from './hub_options';
import { note, optionsOf } from './run';
import type { Session } from './session';
import { type Ours, type SavedState, type TrainerState, takeOver } from './state';

/** Writes the checkpoint of the step that a session is at. */
export async function writeCheckpoint<M extends TrainedModel, E>(session: Session<M, E>): Promise<string> {
  const { folder, run, state, course, its } = session;
  const { trainer, optimizer, parts, control } = its;
  if (control.should_epoch_stop) course.leaveOut(run.step);
  if (run.checkpoints.at(-1) === folder && session.resumedFrom === folder) return folder;
  const about = { runs: trainer.lineage, args: withoutToken(parts.args) };
  state.best_model_checkpoint = bestCheckpoint(state, parts.args.output_dir, folder);
  const memory = 'memory' in parts.model ? parts.model.memory() : [];
  await saveCheckpoint(folder, [...optimizer.state(), ...memory], saved(session), about, (to) => trainer.save_model(to));
  note(run, 'checkpoint', `saved ${basename(folder)}`);
  run.checkpoints = [...run.checkpoints.filter((path) => path !== folder), folder];
  return folder;
}

function saved<M extends TrainedModel, E>({ course, its, plan, precision, run, state, tally, plateau }: Session<M, E>): SavedState {
  const { leftOut } = course;
  const tunebook: Ours = {
    micro_batch_tokens: plan.tokens,
    precision,
    fingerprint: course.fingerprint,
    learning_rate_set: run.peakRate === its.parts.args.learning_rate ? undefined : run.peakRate,
    ...tally.saved(),
    ...(leftOut && { steps_left_out: leftOut }),
    ...(plateau && { plateau: plateau.state }),
    series: run.series,
    samples: run.samples,
  };
  const control = { args: { ...its.control }, attributes: {} };
  return { ...state, stateful_callbacks: { ...its.callbacks.states(), TrainerControl: control, tunebook } };
}

/** Goes on from a checkpoint. Nothing is changed where it does not fit. */
export async function resumeFrom<M extends TrainedModel, E>(session: Session<M, E>, checkpoint: string): Promise<void> {
  const { run, state, course, tally, plateau, its } = session;
  const { args, model } = its.parts;
  const before = await loadCheckpoint(checkpoint, course.fingerprint, model, its.optimizer);
  const { tunebook: ours, ...callbacks } = before.stateful_callbacks;
  takeOver(state, before);
  its.callbacks.restore(callbacks as TrainerState['stateful_callbacks']);
  run.step = state.global_step;
  run.series = { ...run.series, ...ours.series };
  run.checkpoints.push(checkpoint);
  run.samples = ours.samples ?? [];
  session.resumedFrom = checkpoint;
  course.leftOut = ours.steps_left_out ?? 0;
  const but = await changedSettings(checkpoint, optionsOf(args, model), [before.max_steps, state.max_steps]);
  note(run, 'resumed', `resumed from ${basename(checkpoint)}${but}`);
  if (but) emit('warning', { text: `Resuming from '${checkpoint}'${but}.` });
  if (ours.learning_rate_set !== undefined) session.setRate(ours.learning_rate_set);
  tally.restore(ours);
  if (plateau && ours.plateau) plateau.state = ours.plateau;
  session.plan = { ...session.plan, tokens: ours.micro_batch_tokens };
  if (args.bf16 === null) session.precision = ours.precision ?? session.precision;
}
