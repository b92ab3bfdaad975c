import { basename, dirname, join } from 'node:path';
import { FileError, InterruptedError, OptionError, TrainingError } from '../core/errors';
import { emit, warnOnce } from '../core/events';
import { turn } from '../core/interrupt';
import { rowOrder } from '../data/order';
import type { Example } from '../data/sft';
import { backend } from '../engine/backend';
import { mebibytes, memoryUsage } from '../engine/memory';
import { globalNorm } from '../engine/ops/adamw';
import type { Precision } from '../engine/precision';
import { type Evaluation, meanLoss } from '../evaluate/loss';
import { generate } from '../generate/generate';
import type { CausalLM } from '../models/causal_lm';
import { baseOf } from '../peft/model';
import type { Tokenizer } from '../tokenizers/tokenizer';
import { Board } from './board';
import {
  changedSettings,
  checkWritable,
  faultOf,
  loadOptimizer,
  loadState,
  saveCheckpoint,
  type TrainerState,
  trainerState,
} from './checkpoint';
import type { TrainingOptions } from './config';
import { stepGradients, type TrainedModel } from './gradients';
import { type Action, Handle } from './handle';
import { planMicroBatches } from './micro_batches';
import { OPTIMIZERS, Optimizer } from './optimizers';
import { checkpointsIn, findCheckpoint, fittingIn, forgetOld, type Lineage, metIn, originOf, othersIn, tidy } from './output_dir';
import { type EventKind, newRun, type Run, tell, watchOverfitting } from './run';
import { SCHEDULES } from './schedules';

export interface TrainOutput {
  global_step: number;
  training_loss: number;
  /** True when the run was interrupted: everything is saved, and `train({ resume_from_checkpoint: true })` goes on. */
  stopped: boolean;
  checkpoint: string | null;
  metrics: Record<string, number>;
}

export interface TrainerParts<M extends TrainedModel = TrainedModel> {
  model: M;
  args: TrainingOptions;
  train: Example[];
  eval?: Example[];
  tokenizer: Tokenizer;
  /** What the model is asked whenever a sample is taken. */
  prompts: string[];
}

/** What `bf16` asks for; by default what is fastest on this CPU. */
function choosePrecision(bf16: boolean | null): Precision {
  const info = backend();
  if (bf16 && !info.native) warnOnce(`bf16 = true has no effect on tfjs's ${info.name} backend: it computes in fp32.`);
  else if (bf16 && !info.bf16)
    warnOnce('bf16 = true: this CPU has no bf16 instructions, so bf16 takes longer than fp32. Leave bf16 out to get what is faster here.');
  return (bf16 ?? info.bf16) && info.native ? 'bf16' : 'fp32';
}

/**
 * The training loop: batches in a seeded order, gradients summed over micro-batches and normalised by all labelled tokens of
 * the step, clipping, optimizer, schedule, evaluation, checkpoints. Objectives (SFT, later others) prepare the examples.
 */
export class Trainer<M extends TrainedModel = TrainedModel> {
  readonly model: M;
  /** What runs forward: the model itself, or the one that the adapter stands beside. */
  private readonly base: CausalLM;
  readonly args: TrainingOptions;
  /** The run that `train` is on or was last on. */
  run?: Run;
  state?: { global_step: number; log_history: Record<string, number>[] };
  /** What can be asked of the run while it is on. */
  private readonly handle = new Handle();
  /** What the schedule's rate is multiplied with: args.learning_rate, until another is set while training. */
  private baseRate = 0;
  private precision: Precision = 'fp32';
  private running = false;
  /** What led to the run that `train` is on or was last on. */
  private runs: Lineage = [];

  constructor(protected readonly parts: TrainerParts<M>) {
    this.model = parts.model;
    this.base = baseOf<CausalLM>(parts.model);
    this.args = parts.args;
    this.precision = choosePrecision(parts.args.bf16);
  }

  /** Ends the run after the step it is in; resolves when its checkpoint is saved, and names it. */
  stop(): Promise<string> {
    return this.handle.open ? this.handle.ask('stop') : Promise.resolve('No run is on.');
  }

  /** Halts the run after the step it is in; nothing is lost, and its model can be used meanwhile. */
  pause(): Promise<string> {
    return this.handle.ask('pause');
  }

  resume(): Promise<string> {
    return this.handle.ask('resume');
  }

  /** Sets the rate that the schedule's curve is multiplied with, from the next step on. */
  setLearningRate(rate: number): Promise<string> {
    return this.handle.ask('learning_rate', rate);
  }

  /** Writes on from the trainer's prompts (sample_prompts, or the first rows' own) with the model as it is now; greedy. */
  async sample({ max_new_tokens = 48 }: { max_new_tokens?: number } = {}): Promise<Run['samples']> {
    const { tokenizer, prompts } = this.parts;
    const samples: Run['samples'] = [];
    for (const prompt of prompts) {
      const ids = tokenizer.chat_template
        ? tokenizer.apply_chat_template([{ role: 'user', content: prompt }], { add_generation_prompt: true })
        : tokenizer.encode(prompt);
      const made = await generate(this.base, ids, { max_new_tokens });
      samples.push({ step: this.run?.step ?? 0, prompt, text: tokenizer.decode(made, { skip_special_tokens: true }) });
    }
    return samples;
  }

  /**
   * Trains to the end, or until stopped. `resume_from_checkpoint`: a path, or true for the newest checkpoint in output_dir of this
   * trainer's own run, or of the run that saved there last.
   */
  async train({
    resume_from_checkpoint: resume = this.args.resume_from_checkpoint,
  }: {
    resume_from_checkpoint?: string | boolean | null;
  } = {}): Promise<TrainOutput> {
    if (this.running) throw new OptionError('This trainer is already training. Stop it first (interrupt its cell, or trainer.stop()).');
    const { output_dir } = this.args;
    await checkWritable(output_dir);
    tidy(output_dir);
    this.running = true;
    this.handle.begin();
    this.baseRate = this.args.learning_rate;
    const onInterrupt = () => {
      const text = this.handle.stopWanted
        ? 'Second interrupt: ending at once, without saving.'
        : 'Interrupt received: finishing this step, then saving. A second one ends at once.';
      if (this.handle.stopWanted) this.handle.endWanted = true;
      this.handle.stop();
      emit('progress', { id: 'interrupt', text, done: true });
    };
    process.on('SIGINT', onInterrupt);
    const optimizer = new Optimizer(OPTIMIZERS[this.args.optim], this.model.namedParameters(), this.args);
    try {
      const fault = (path: string) => faultOf(path, this.model.weightsFile);
      return await this.loop(optimizer, resume ? await findCheckpoint(resume, output_dir, this.runs, fault) : null);
    } catch (error) {
      const status = error instanceof InterruptedError ? 'stopped' : 'failed';
      if (this.run?.status === 'running') this.end(status, (error as Error).message);
      throw error;
    } finally {
      process.off('SIGINT', onInterrupt);
      optimizer.dispose();
      this.handle.end(this.run ? (this.run.events.at(-1)?.text ?? `step ${this.run.step}`) : 'it did not begin');
      this.running = false;
    }
  }

  /** Loss and perplexity on the evaluation rows. */
  async evaluate(): Promise<Evaluation> {
    if (!this.parts.eval?.length) throw new OptionError('There is nothing to evaluate on: give the trainer an eval_dataset.');
    return meanLoss(this.base, this.parts.eval, { batchSize: this.args.per_device_eval_batch_size, precision: this.precision });
  }

  /** Saves adapter (or the whole model, where that is trained) and tokenizer as PEFT and transformers do; by default into output_dir. */
  async save_model(folder = this.args.output_dir): Promise<void> {
    await checkWritable(folder);
    await this.model.save_pretrained(folder);
    await this.parts.tokenizer.save_pretrained(folder);
  }

  private async loop(optimizer: Optimizer, checkpoint: string | null): Promise<TrainOutput> {
    const { args, parts } = this;
    const rowsPerStep = args.per_device_train_batch_size * args.gradient_accumulation_steps;
    const stepsPerEpoch = Math.ceil(parts.train.length / rowsPerStep);
    const total = args.max_steps > 0 ? args.max_steps : Math.ceil(args.num_train_epochs * stepsPerEpoch);
    const warmup = args.warmup_steps < 1 ? Math.ceil(args.warmup_steps * total) : args.warmup_steps;
    const lengths = parts.train.map((row) => row.input_ids.length);
    const run = newRun(args.run_name ?? basename(args.output_dir), args.output_dir, total, { ...args });
    this.run = run;
    const note = (kind: EventKind, text: string) => run.events.push({ step: run.step, kind, text });
    const warn = (text: string) => {
      note('warning', text);
      emit('warning', { text });
    };
    const setRate = (rate: number) => {
      note('learning_rate', `learning rate ${this.baseRate} set to ${rate} (the schedule's curve goes on)`);
      this.baseRate = rate;
    };
    let tokensSeen = 0;
    let sinceLog: [number, number] = [0, 0];
    let log: Record<string, number>[] = [];
    let plan = planMicroBatches(
      args,
      this.base.activationFloats(this.precision),
      lengths.reduce((most, n) => Math.max(most, n), 0),
      this.precision,
    );
    const fingerprint = `${parts.train.length} rows, ${rowsPerStep} a step, seed ${args.data_seed ?? args.seed}${args.train_sampling_strategy === 'random' ? '' : `, ${args.train_sampling_strategy}`}`;
    if (checkpoint) {
      const state = await this.restore(checkpoint, optimizer, fingerprint);
      const saved = state.stateful_callbacks.tunebook;
      run.step = state.global_step;
      run.series = saved.series;
      run.checkpoints.push(checkpoint);
      run.samples = saved.samples ?? [];
      const changed = await changedSettings(checkpoint, { ...args, ...(this.model as { peft_config?: object }).peft_config });
      if (state.max_steps !== total) changed.push(`steps in all ${state.max_steps} -> ${total}`);
      const but = changed.length ? `, with other settings than it was saved with: ${changed.join(', ')}` : '';
      note('resumed', `resumed from ${basename(checkpoint)}${but}`);
      if (but) emit('warning', { text: `Resuming from '${checkpoint}'${but}.` });
      if (saved.learning_rate_set !== undefined) setRate(saved.learning_rate_set);
      log = state.log_history;
      tokensSeen = state.num_input_tokens_seen;
      sinceLog = saved.loss_since_log;
      plan = { ...plan, tokens: saved.micro_batch_tokens };
      if (args.bf16 === null) this.precision = saved.precision ?? this.precision;
    }
    this.runs = [...((checkpoint && originOf(checkpoint).runs) || []), [run.id, run.step]];
    const others = othersIn(args.output_dir, this.runs, args.save_total_limit);
    if (others) warn(others);
    const newest = checkpointsIn(args.output_dir).at(-1)?.savedAt ?? 0;
    let isAlone = true;
    this.state = { global_step: run.step, log_history: log };
    const board = args.report_to === 'tensorboard' ? new Board(args.output_dir) : undefined;
    const logged = (entry: Record<string, number>) => {
      log.push(entry);
      board?.log(run.step, entry);
    };
    tell(run, this.handle, 'begin');
    const began = performance.now();
    const firstStep = run.step;
    let lossSum = 0;
    let order: { epoch: number; rows: number[] } | undefined;
    const save = async () => {
      const folder = join(args.output_dir, `checkpoint-${run.step}`);
      if (run.checkpoints.at(-1) === folder && checkpoint === folder) return folder;
      const state = trainerState(
        args,
        run,
        { stepsPerEpoch, tokensSeen, log },
        {
          micro_batch_tokens: plan.tokens,
          precision: this.precision,
          fingerprint,
          learning_rate_set: this.baseRate === args.learning_rate ? undefined : this.baseRate,
          loss_since_log: sinceLog,
        },
      );
      await saveCheckpoint(folder, optimizer, state, { runs: this.runs, args }, (to) => this.save_model(to));
      note('checkpoint', `saved ${basename(folder)}`);
      const gone = await forgetOld(args.output_dir, this.runs, args.save_total_limit);
      run.checkpoints = [...run.checkpoints, folder].filter((path) => !gone.includes(path));
      const met = isAlone && metIn(args.output_dir, this.runs, newest);
      if (met) {
        isAlone = false;
        warn(
          `Another run saves into '${args.output_dir}' at the same time (${basename(met.path)}). Each deletes only its own checkpoints, but of the same step the later one stays: give one of them another output_dir.`,
        );
      }
      tell(run, this.handle, 'change');
      return folder;
    };
    const evaluate = async () => {
      const result = await this.evaluate();
      // Asked for twice at one step, it says the same.
      if (run.series.eval_loss.at(-1)?.[0] !== run.step) run.series.eval_loss.push([run.step, result.eval_loss]);
      logged({ eval_loss: result.eval_loss, eval_runtime: result.eval_runtime, epoch: run.step / stepsPerEpoch, step: run.step });
      watchOverfitting(run);
      tell(run, this.handle, 'change');
      return result;
    };
    /** The run is worth more than one sample or checkpoint; the next may succeed. */
    const goOn = (advice: string) => (error: Error) => {
      if (error instanceof InterruptedError) throw error;
      note('warning', error.message);
      emit('warning', { text: `${error.message} ${advice}` });
    };
    const takeSamples = async () => {
      run.samples.push(...(await this.sample()));
      tell(run, this.handle, 'change');
    };
    const act = async (action: Action, value?: number): Promise<string> => {
      switch (action) {
        case 'pause':
          if (run.status === 'paused') return 'It is paused already.';
          this.handle.paused = true;
          run.status = 'paused';
          note('paused', `paused after step ${run.step}`);
          break;
        case 'resume':
          if (run.status !== 'paused') return 'It is training.';
          this.handle.paused = false;
          run.status = 'running';
          note('resumed', `resumed after step ${run.step}`);
          break;
        case 'sample':
          if (!parts.prompts.length) throw new OptionError('There is nothing to ask the model: give SFTConfig sample_prompts.');
          await takeSamples();
          return `${parts.prompts.length === 1 ? 'One sample' : `${parts.prompts.length} samples`} taken after step ${run.step}.`;
        case 'evaluate':
          return `Evaluation loss after step ${run.step}: ${(await evaluate()).eval_loss.toFixed(4)}.`;
        case 'learning_rate':
          setRate(value as number);
      }
      tell(run, this.handle, 'change');
      return `${run.events.at(-1)?.text}.`.replace(/^./, (c) => c.toUpperCase());
    };
    while (run.step < total && !this.handle.stopWanted) {
      const epoch = Math.floor(run.step / stepsPerEpoch);
      if (order?.epoch !== epoch)
        order = { epoch, rows: rowOrder(args.train_sampling_strategy, lengths, rowsPerStep, args.data_seed ?? args.seed, epoch) };
      const from = (run.step % stepsPerEpoch) * rowsPerStep;
      const rows = order.rows.slice(from, from + rowsPerStep).map((i) => parts.train[i]);
      const start = performance.now();
      const lr = this.baseRate * SCHEDULES[args.lr_scheduler_type](run.step, warmup, total);
      const { gradients, loss } = await stepGradients(this.model, rows, {
        plan,
        precision: this.precision,
        seed: args.seed,
        step: run.step,
      });
      const norm = await globalNorm([...gradients.values()]);
      if (!Number.isFinite(loss) || !Number.isFinite(norm)) {
        for (const gradient of gradients.values()) gradient.dispose();
        note('nan', `the ${Number.isFinite(loss) ? 'gradient norm' : 'loss'} of step ${run.step + 1} is not a number`);
        const last = run.step > 0 ? await save().catch(() => run.checkpoints.at(-1) ?? null) : null;
        throw new TrainingError(
          `Training stopped at step ${run.step + 1}: the ${Number.isFinite(loss) ? `gradient norm is ${norm}` : `loss is ${loss}`}. ` +
            `${last ? `The last good state is saved in ${last}.` : 'No step had been taken.'} Lower learning_rate (now ${this.baseRate}), add warmup_steps, or look at the rows of this step.`,
        );
      }
      const factor = args.max_grad_norm > 0 ? Math.min(1, args.max_grad_norm / (norm + 1e-6)) : 1;
      optimizer.apply(gradients, lr, factor);
      for (const gradient of gradients.values()) gradient.dispose();
      run.step++;
      const tokens = rows.reduce((n, row) => n + row.input_ids.length, 0);
      tokensSeen += tokens;
      lossSum += loss;
      sinceLog = [sinceLog[0] + loss, sinceLog[1] + 1];
      this.noteStep(run, { loss, lr, norm, speed: tokens / ((performance.now() - start) / 1000) });
      const due = (every: number) => run.step % Math.max(1, Math.round(every < 1 ? every * total : every)) === 0;
      if (due(args.logging_steps) || (run.step === 1 && args.logging_first_step)) {
        logged({
          loss: sinceLog[0] / sinceLog[1],
          grad_norm: norm,
          learning_rate: lr,
          num_tokens: tokensSeen,
          epoch: run.step / stepsPerEpoch,
          step: run.step,
        });
        sinceLog = [0, 0];
      }
      this.state = { global_step: run.step, log_history: log };
      this.progress(run, began, firstStep);
      const epochEnded = run.step % stepsPerEpoch === 0;
      if (epochEnded) note('epoch', `epoch ${run.step / stepsPerEpoch} ended: every row was seen once more`);
      tell(run, this.handle, 'step');
      if (
        parts.eval &&
        (args.eval_strategy === 'steps' ? due(args.eval_steps ?? args.logging_steps) : args.eval_strategy === 'epoch' && epochEnded)
      )
        await evaluate();
      if (args.save_strategy === 'steps' ? due(args.save_steps) : args.save_strategy === 'epoch' && epochEnded) {
        if (args.sample_prompts.length) await takeSamples().catch(goOn('No sample could be taken.'));
        await save().catch(goOn('Training goes on without it; free some space before the next checkpoint.'));
      }
      await turn();
      await this.handle.attend(act);
    }
    if (this.handle.endWanted) throw new InterruptedError('Ended by a second interrupt, without saving.');
    const stopped = run.step < total;
    const saved =
      stopped || (args.save_strategy !== 'no' && run.checkpoints.at(-1) !== join(args.output_dir, `checkpoint-${run.step}`))
        ? await save().catch((error: Error) => {
            if (error instanceof InterruptedError) throw error;
            throw new FileError(
              `${error.message} What was trained is still in memory: free some space and call \`await trainer.save_model()\`, or give it another folder.`,
            );
          })
        : (run.checkpoints.at(-1) ?? null);
    const steps = run.step - firstStep;
    const seconds = (performance.now() - began) / 1000;
    this.end(stopped ? 'stopped' : 'finished', stopped ? `stopped after step ${run.step}; saved ${saved}` : `finished ${run.step} steps`);
    if (stopped)
      emit('progress', {
        id: `train ${run.id}`,
        text: `Stopped after step ${run.step} of ${total}. Saved ${saved}; go on with trainer.train({ resume_from_checkpoint: true }).`,
        done: true,
      });
    return {
      global_step: run.step,
      training_loss: steps ? lossSum / steps : 0,
      stopped,
      checkpoint: saved,
      metrics: { train_runtime: seconds, train_steps_per_second: steps / seconds, train_loss: steps ? lossSum / steps : 0 },
    };
  }

  private noteStep(run: Run, { loss, lr, norm, speed }: { loss: number; lr: number; norm: number; speed: number }): void {
    const { resident, peak, machine } = memoryUsage();
    run.memory = { residentBytes: resident, peakBytes: peak, machineBytes: machine };
    run.series.loss.push([run.step, loss]);
    run.series.learning_rate.push([run.step, lr]);
    run.series.grad_norm.push([run.step, norm]);
    run.series.tokens_per_second.push([run.step, speed]);
    run.series.resident_bytes.push([run.step, resident]);
  }

  private progress(run: Run, began: number, firstStep: number): void {
    if (this.args.disable_tqdm) return;
    const seconds = (performance.now() - began) / 1000;
    const left = (seconds / (run.step - firstStep)) * (run.totalSteps - run.step);
    const clock = (s: number) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, '0')}`;
    const recent = run.series.tokens_per_second.slice(-10);
    const speed = recent.reduce((sum, [, v]) => sum + v, 0) / recent.length;
    emit('progress', {
      id: `train ${run.id}`,
      done: run.step === run.totalSteps,
      text:
        `step ${run.step}/${run.totalSteps}  loss ${run.series.loss.at(-1)?.[1].toFixed(4)}  ${Math.round(speed)} tokens/s  ` +
        `${clock(seconds)} elapsed, ${clock(left)} left  ${mebibytes(run.memory.residentBytes)} resident`,
    });
  }

  private end(status: Run['status'], text: string): void {
    const run = this.run as Run;
    run.status = status;
    if (status === 'stopped' || status === 'failed') run.events.push({ step: run.step, kind: status, text });
    tell(run, this.handle, 'end');
  }

  /** Nothing is changed where the checkpoint does not fit. */
  private async restore(checkpoint: string, optimizer: Optimizer, fingerprint: string): Promise<TrainerState> {
    const state = await loadState(checkpoint);
    const made = state.stateful_callbacks.tunebook.fingerprint;
    if (made !== fingerprint) {
      const other = fittingIn(dirname(checkpoint), fingerprint);
      throw new OptionError(
        `The checkpoint '${checkpoint}' was made with other data or batches (${made}) than now (${fingerprint}). Resume with the same ones, or start afresh.` +
          (other ? ` '${other}' was made with those of now: give its path to go on from there.` : ''),
      );
    }
    await this.model.restore(checkpoint);
    await loadOptimizer(checkpoint, state.global_step, optimizer);
    return state;
  }
}
