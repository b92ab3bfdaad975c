import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { InterruptedError, OptionError, TunebookError } from '../../core/errors';
import { emit, unsaid } from '../../core/events';
import { readOptions, show } from '../../core/options';
import { AutoModelForCausalLM, AutoTokenizer } from '../../models/auto';
import type { CausalLM } from '../../models/causal_lm';
import { configOf } from '../../peft/configs';
import { takeOff } from '../../peft/hold';
import type { PeftConfig } from '../../peft/method';
import { get_peft_model, PeftModel } from '../../peft/model';
import { checkMetricName, moreIsBetter } from '../../train/best';
import { checkWritable, loadState } from '../../train/checkpoint';
import { checkpointsOf } from '../../train/output_dir';
import { takeOver } from '../../train/state';
import { SFT_PARTS, SFTTrainer, type SFTTrainerOptions } from '../sft';
import { OBJECTIVES, SFT_NAMES, SFTConfig } from '../sft_config';
import { peftNames, type Variant, variantsOf } from './grid';
import { madeOf, scoredBy } from './made_of';
import { Kept, type Score, ScoreError, Watch } from './one_run';
import { bestOf, earlierRuns, isDone, type SweepData, type SweepRun, saveSweep } from './record';
import { SweepResult } from './result';

/** What `sweep` takes. */
export interface SweepOptions {
  /** What every run is made of, as SFTTrainer takes it; model may be a name, which is loaded once. Needed. Default: null. */
  base: (Omit<Partial<SFTTrainerOptions>, 'model'> & { model?: CausalLM | string }) | null;
  /** Options of the training or of the adapter with the values to try; every combination is a run. Needed. Default: null. */
  vary: Record<string, readonly unknown[]> | null;
  /**
   * What runs are compared by: a figure of evaluations ('eval_loss'), or a function of the trainer when its run is over; null: the evaluation
   * loss, without eval_dataset the training loss of the last tenth of the steps. Default: null.
   */
  score: Score | null;
  /** Whether more of the score is better; null: unless its name ends in loss or perplexity. Default: null. */
  greater_is_better: boolean | null;
}

const DEFAULTS: SweepOptions = { base: null, vary: null, score: null, greater_is_better: null };

class Sweep {
  private interrupts = 0;
  /** What scores are by. */
  private readonly scored: string;

  constructor(
    readonly data: SweepData,
    private readonly base: SFTTrainerOptions,
    private readonly variants: Variant[],
    readonly score: Score,
  ) {
    this.scored = scoredBy(score, base);
  }

  get isInterrupted(): boolean {
    return this.interrupts > 0;
  }

  tell(what: 'begin' | 'step' | 'change'): void {
    emit('sweep', { sweep: this.data, what });
  }

  private configOf({ args, peft, folder, name }: Variant): { args: SFTConfig; peft_config: PeftConfig | null } {
    const { base } = this;
    const { peft_type, ...own } = { ...base.peft_config } as Record<string, unknown>;
    return {
      args: new SFTConfig({ ...base.args, ...args, output_dir: join(this.data.folder, folder), run_name: name, disable_tqdm: true }),
      peft_config: base.peft_config && configOf({ peft_type, ...own, ...peft }),
    };
  }

  /** Makes every run's settings and adapter once, so that what is wrong with one of them is told before the first begins. */
  async prepare(): Promise<void> {
    const { base, score } = this;
    const model = base.model as CausalLM;
    const earlier = await earlierRuns(this.data.folder);
    if (!base.peft_config && !model.namedParameters().size) model.requires_grad_();
    for (const [i, variant] of this.variants.entries()) {
      const { args, peft_config } = this.configOf(variant);
      const { compute_metrics } = base;
      // Answers have figures by metrics of many names: of these the first evaluation tells.
      if (typeof score === 'string' && score !== 'loss' && !args.predict_with_generate)
        checkMetricName('sweep: score', score, { objective: OBJECTIVES[args.loss_type], compute_metrics });
      const row = this.data.runs[i];
      row.made = madeOf(base, args, peft_config);
      const peft = peft_config && get_peft_model(model, peft_config, { seed: args.seed });
      for (const [, { shape }] of (peft ?? model).namedParameters()) row.parameters += shape.reduce((a, b) => a * b, 1);
      peft?.unload();
      const before = earlier.get(row.made);
      if (!before) continue;
      Object.assign(row, before, { name: row.name, folder: row.folder, values: row.values });
      if (row.scored !== this.scored) row.score = null;
    }
    this.data.best = bestOf(this.data);
  }

  /** Runs what has not finished, one after another. */
  async run(): Promise<void> {
    const onInterrupt = () => {
      this.interrupts++;
    };
    process.on('SIGINT', onInterrupt);
    const kept = this.base.peft_config ? undefined : new Kept(this.base.model as CausalLM);
    this.tell('begin');
    try {
      for (const [i, row] of this.data.runs.entries()) {
        if (isDone(row) && row.scored === this.scored) continue;
        kept?.back();
        await unsaid(i ? ['preview', 'show'] : [], () => this.one(row, this.variants[i]));
        await saveSweep(this.data);
        if (this.isInterrupted) break;
      }
      if (this.data.runs.every(({ status }) => status === 'failed'))
        throw new TunebookError(`All runs of the sweep failed. ${this.data.runs[0].text}`);
      this.data.status = this.isInterrupted ? 'stopped' : 'finished';
    } catch (error) {
      this.data.status = error instanceof InterruptedError ? 'stopped' : 'failed';
      throw error;
    } finally {
      process.off('SIGINT', onInterrupt);
      kept?.back();
      kept?.dispose();
      await this.end();
    }
  }

  /** How it ended is kept and shown; what cannot be drawn is no reason to lose what was trained. */
  private async end(): Promise<void> {
    await saveSweep(this.data).catch((error: Error) => emit('warning', { text: `sweep.json could not be written: ${error.message}` }));
    const waits: Promise<unknown>[] = [];
    emit('sweep', { sweep: this.data, what: 'end', waits });
    for (const one of await Promise.allSettled(waits))
      if (one.status === 'rejected') emit('warning', { text: `The sweep's view is not whole: ${(one.reason as Error).message}` });
  }

  /** One run, from its last checkpoint where an earlier sweep was killed in it; of one that is trained its score alone. */
  private async one(row: SweepRun, variant: Variant): Promise<void> {
    const { base } = this;
    const begun = row.status === 'running' || row.status === 'paused';
    if (!begun && !isDone(row)) Object.assign(row, { step: 0, seconds: 0, loss: [], eval_loss: [], text: '', peakBytes: 0 });
    if (!isDone(row)) row.status = 'running';
    await saveSweep(this.data);
    const watch = new Watch(row, this);
    let trainer: SFTTrainer | undefined;
    try {
      trainer = new SFTTrainer({ ...base, ...this.configOf(variant), callbacks: [watch, ...(base.callbacks ?? [])] });
      if (isDone(row)) await trained(trainer, row);
      else {
        const resume = begun && existsSync(row.folder) && checkpointsOf(row.folder).length > 0;
        const { stopped } = await trainer.train({ resume_from_checkpoint: resume });
        if (stopped && this.isInterrupted) return; // a later call goes on with it
        await trainer.save_model();
        row.status = stopped && row.step < row.totalSteps ? 'stopped' : 'finished';
      }
      Object.assign(row, { score: await watch.scoreOf(trainer), scored: this.scored, text: '' });
    } catch (given) {
      const error = (given as Error).cause instanceof ScoreError ? ((given as Error).cause as ScoreError) : (given as Error);
      if (error instanceof InterruptedError) {
        if (!row.step) row.status = 'waiting';
        if (this.interrupts === 1) return; // the sweep ends, and a later call goes on
        throw error;
      }
      if (!isDone(row)) row.status = 'failed'; // what is trained stays so, whatever becomes of its score
      row.text = error.message;
      if (!(error instanceof TunebookError) || error instanceof OptionError) throw error;
    } finally {
      if (trainer?.model instanceof PeftModel && base.peft_config) trainer.model.unload();
      this.data.best = bestOf(this.data);
      this.tell('change');
    }
  }
}

/** Makes a trainer what it was when its run was over: the model is the one that was saved, the state that of its last checkpoint. */
async function trained(trainer: SFTTrainer, { folder }: SweepRun): Promise<void> {
  await trainer.model.restore(folder);
  const last = checkpointsOf(folder).at(-1);
  if (last) takeOver(trainer.state, await loadState(last.path));
}

/** base with its model and tokenizer loaded where it names them. */
async function loaded(base: NonNullable<SweepOptions['base']>): Promise<SFTTrainerOptions> {
  const { model: given } = base;
  if (!given) throw new OptionError('sweep: base needs a model: its name, or one from AutoModelForCausalLM.from_pretrained.');
  if (given instanceof PeftModel)
    throw new OptionError('sweep: base.model has an adapter already. Give the model without it (peft.unload()), and peft_config.');
  const dtype = base.peft_config ? 'auto' : 'float32';
  const model = typeof given === 'string' ? await AutoModelForCausalLM.from_pretrained(given, { dtype }) : given;
  const processing_class = base.processing_class ?? (await AutoTokenizer.from_pretrained(model.config._name_or_path));
  return { ...SFT_PARTS, ...base, model, processing_class };
}

/**
 * Trains the same with every combination of some options, one run after another, with the base loaded once: `await sweep({ base: { model,
 * processing_class, train_dataset, eval_dataset, peft_config, args }, vary: { r: [4, 16, 64], learning_rate: [1e-4, 5e-4] } })`. One view shows all
 * runs, and stops one. Each run saves into a folder of its own in args.output_dir; sweep.json there says what came of them, so that a sweep that was
 * interrupted or killed goes on when it is called again: finished runs are kept (by another score they are compared anew), the one it was in goes on
 * from its last checkpoint. A run that fails is told, and the others go on. A model that is trained whole is afterwards what it was. Resolves with all runs and the best.
 */
export async function sweep(options: Partial<SweepOptions>): Promise<SweepResult> {
  const { base, vary, score, greater_is_better } = readOptions<SweepOptions>('sweep', options, DEFAULTS);
  if (!base) throw new OptionError('sweep needs base: what SFTTrainer takes ({ model, train_dataset, peft_config, args, ... }).');
  const peft_config = base.peft_config ? configOf(base.peft_config) : null;
  const variants = variantsOf(vary, SFT_NAMES, peftNames(peft_config));
  const args = base.args instanceof SFTConfig ? base.args : new SFTConfig(base.args ?? {});
  const parts = { ...(await loaded(base)), peft_config, args };
  if (typeof score === 'string' && score !== 'loss' && !parts.eval_dataset)
    throw new OptionError(`sweep: score = ${show(score)} is a figure of evaluations, and base has no eval_dataset.`);
  const name = typeof score === 'function' ? 'score' : (score ?? (parts.eval_dataset ? 'eval_loss' : 'loss'));
  takeOff(parts.model as CausalLM).free('sweep puts its own there');
  const folder = args.output_dir;
  const data: SweepData = {
    id: `sweep-${Date.now().toString(36)}-${process.pid}`,
    name: args.run_name ?? basename(folder),
    folder,
    status: 'running',
    startedAt: new Date().toISOString(),
    vary: Object.keys(vary as object),
    score: name,
    greaterIsBetter: greater_is_better ?? moreIsBetter(name),
    best: null,
    runs: variants.map((variant) => ({
      ...{ id: '', name: variant.name, folder: join(folder, variant.folder), status: 'waiting', step: 0, totalSteps: 0 },
      values: Object.values(variant.values).map((value) => (Array.isArray(value) ? value.join(' ') : String(value))),
      ...{ parameters: 0, seconds: 0, peakBytes: 0, score: null, scored: '', loss: [], eval_loss: [], text: '', made: '' },
    })),
  };
  const all = new Sweep(data, parts as SFTTrainerOptions, variants, score instanceof Function ? score : name);
  await checkWritable(folder);
  await all.prepare();
  await all.run();
  return new SweepResult(data);
}
