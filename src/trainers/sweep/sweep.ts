import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { inspect } from 'node:util';
import { InterruptedError, OptionError, TunebookError } from '../../core/errors';
import { emit, unsaid } from '../../core/events';
import { tableHtml } from '../../core/html';
import { readOptions, show } from '../../core/options';
import { DISPLAY, type Shown } from '../../core/shown';
import { datasetOf } from '../../data/load_dataset';
import * as tf from '../../engine/tf';
import { AutoModelForCausalLM, AutoTokenizer } from '../../models/auto';
import type { CausalLM } from '../../models/causal_lm';
import { configOf } from '../../peft/configs';
import { takeOff } from '../../peft/hold';
import type { PeftConfig } from '../../peft/method';
import { get_peft_model, PeftModel } from '../../peft/model';
import { TrainerCallback } from '../../train/callbacks/callback';
import { checkWritable } from '../../train/checkpoint';
import { withoutToken } from '../../train/hub_options';
import { checkpointsOf } from '../../train/output_dir';
import type { Run } from '../../train/run';
import { SFT_NAMES, SFT_PARTS, SFTConfig, SFTTrainer, type SFTTrainerOptions } from '../sft';
import { peftNames, type Variant, variantsOf } from './grid';
import { bestOf, earlierRuns, type SweepData, type SweepRun, saveSweep } from './record';

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
  score: string | ((trainer: SFTTrainer) => number | Promise<number>) | null;
  /** Whether more of the score is better; null: unless its name ends in loss. Default: null. */
  greater_is_better: boolean | null;
}

const DEFAULTS: SweepOptions = { base: null, vary: null, score: null, greater_is_better: null };

/** What a sweep has come to. As a cell's last value it shows itself as a table. */
export class SweepResult {
  constructor(readonly data: SweepData) {}

  get runs(): SweepRun[] {
    return this.data.runs;
  }

  /** The run with the best score; undefined where none has one. Its adapter is in its folder. */
  get best(): SweepRun | undefined {
    return this.data.best === null ? undefined : this.data.runs[this.data.best];
  }

  /** A row for each run: what was tried, what came of it. */
  rows(): Record<string, string | number>[] {
    const { vary, runs, score: name, best } = this.data;
    return runs.map(({ values, status, step, parameters, seconds, peakBytes, loss, score }, i) => ({
      ...Object.fromEntries(vary.map((option, at) => [option, values[at]])),
      status: `${status}${i === best ? ', best' : ''}`,
      steps: step,
      parameters,
      'time (s)': Math.round(seconds),
      'memory (MiB)': Math.round(peakBytes / 2 ** 20),
      loss: Number(loss.at(-1)?.[1].toPrecision(4) ?? Number.NaN),
      ...(name !== 'loss' && { [name]: score === null ? '' : Number(score.toPrecision(4)) }),
    }));
  }

  [inspect.custom](): string {
    const { best, data } = this;
    const lines = this.rows().map((row) =>
      Object.entries(row)
        .map(([name, value]) => `${name} ${value}`)
        .join(', '),
    );
    return [
      `Sweep of ${data.vary.join(', ')}: ${data.status}`,
      ...lines,
      best ? `best: ${best.name} (${data.score} ${best.score}), saved in ${best.folder}` : 'no run has a score',
    ].join('\n');
  }

  [DISPLAY](): Shown {
    return { 'text/plain': inspect(this), 'text/html': tableHtml(this.rows()) };
  }
}

/** Keeps a run's row as it goes. */
class Watch extends TrainerCallback {
  private began = 0;

  constructor(
    private readonly row: SweepRun,
    private readonly sweep: Sweep,
  ) {
    super();
  }

  override on_train_begin(_: unknown, __: unknown, ___: unknown, { run }: { run?: Run }): void {
    const { row, sweep } = this;
    const { id, totalSteps } = run as Run;
    (run as Run).sweep = sweep.data.id;
    this.began = performance.now() - 1000 * row.seconds;
    Object.assign(row, { id, totalSteps, status: 'running' });
    sweep.tell('begin');
  }

  override on_step_end(_: unknown, __: unknown, ___: unknown, { run }: { run?: Run }): void {
    const { series, step, memory, pausedSeconds, status } = run as Run;
    const { loss, eval_loss } = series;
    const seconds = (performance.now() - this.began) / 1000 - pausedSeconds;
    Object.assign(this.row, { status, step, loss, eval_loss, seconds, peakBytes: Math.max(this.row.peakBytes, memory.residentBytes) });
    this.sweep.tell('step');
  }
}

/** The values of a model that is trained whole, to begin every run with the same. */
class Kept {
  private readonly values: Map<string, tf.Tensor>;
  constructor(private readonly model: CausalLM) {
    this.values = new Map([...model.namedParameters()].map(([name, { tensor }]) => [name, tf.clone(tensor).add(0)]));
  }

  back(): void {
    for (const [name, parameter] of this.model.namedParameters()) {
      const value = this.values.get(name);
      if (value) parameter.assign(value.add(0));
    }
  }

  dispose(): void {
    for (const value of this.values.values()) value.dispose();
  }
}

class Sweep {
  private interrupted = false;

  constructor(
    readonly data: SweepData,
    private readonly base: SFTTrainerOptions,
    private readonly variants: Variant[],
    private readonly score: SweepOptions['score'],
  ) {}

  tell(what: 'begin' | 'step' | 'change' | 'end'): void {
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
    const model = this.base.model as CausalLM;
    const earlier = await earlierRuns(this.data.folder);
    const rows = rowsDigest(this.base);
    if (!this.base.peft_config && !model.namedParameters().size) model.requires_grad_();
    for (const [i, variant] of this.variants.entries()) {
      const { args, peft_config } = this.configOf(variant);
      const row = this.data.runs[i];
      row.made = createHash('sha256')
        .update(JSON.stringify([withoutToken(args), peft_config, model.config._name_or_path, rows]))
        .digest('hex');
      const peft = peft_config && get_peft_model(model, peft_config, { seed: args.seed });
      for (const [, { shape }] of (peft ?? model).namedParameters()) row.parameters += shape.reduce((a, b) => a * b, 1);
      peft?.unload();
      const before = earlier.get(row.made);
      if (before) Object.assign(row, before, { name: row.name, folder: row.folder, values: row.values });
    }
    this.data.best = bestOf(this.data);
  }

  /** Runs what has not finished, one after another. */
  async run(): Promise<void> {
    const onInterrupt = () => {
      this.interrupted = true;
    };
    process.on('SIGINT', onInterrupt);
    const kept = this.base.peft_config ? undefined : new Kept(this.base.model as CausalLM);
    this.tell('begin');
    try {
      for (const [i, row] of this.data.runs.entries()) {
        if (['finished', 'stopped'].includes(row.status)) continue;
        kept?.back();
        await unsaid(i ? ['preview', 'show'] : [], () => this.one(row, this.variants[i]));
        await saveSweep(this.data);
        if (this.interrupted) break;
      }
      if (this.data.runs.every(({ status }) => status === 'failed'))
        throw new TunebookError(`All runs of the sweep failed. ${this.data.runs[0].text}`);
      this.data.status = this.interrupted ? 'stopped' : 'finished';
    } catch (error) {
      this.data.status = error instanceof InterruptedError ? 'stopped' : 'failed';
      throw error;
    } finally {
      process.off('SIGINT', onInterrupt);
      kept?.dispose();
      const waits: Promise<unknown>[] = [];
      emit('sweep', { sweep: this.data, what: 'end', waits });
      await Promise.all(waits);
    }
  }

  /** One run, from its last checkpoint where an earlier sweep was killed in it. */
  private async one(row: SweepRun, variant: Variant): Promise<void> {
    const begun = row.status === 'running' || row.status === 'paused';
    if (!begun) Object.assign(row, { step: 0, seconds: 0, loss: [], eval_loss: [], text: '', peakBytes: 0 });
    row.status = 'running';
    await saveSweep(this.data);
    const { base } = this;
    let trainer: SFTTrainer | undefined;
    try {
      const callbacks = [new Watch(row, this), ...(base.callbacks ?? [])];
      trainer = new SFTTrainer({ ...base, ...this.configOf(variant), callbacks });
      const resume = begun && existsSync(row.folder) && checkpointsOf(row.folder).length > 0;
      const { stopped } = await trainer.train({ resume_from_checkpoint: resume });
      if (stopped && this.interrupted) return; // a later call goes on with it
      await trainer.save_model();
      row.score = await this.scoreOf(trainer, row);
      row.status = stopped && row.step < row.totalSteps ? 'stopped' : 'finished';
    } catch (error) {
      if (error instanceof InterruptedError) throw error;
      Object.assign(row, { status: 'failed', text: (error as Error).message });
      if (!(error instanceof TunebookError) || error instanceof OptionError) throw error;
    } finally {
      if (trainer?.model instanceof PeftModel && base.peft_config) trainer.model.unload();
      this.data.best = bestOf(this.data);
      this.tell('change');
    }
  }

  private async scoreOf(trainer: SFTTrainer, row: SweepRun): Promise<number | null> {
    const { score: name } = this.data;
    if (typeof this.score === 'function') return this.score(trainer);
    if (name === 'loss') {
      const last = row.loss.slice(-Math.ceil(row.loss.length / 10));
      return last.reduce((sum, [, value]) => sum + value, 0) / last.length;
    }
    const evaluated = trainer.state.log_history.findLast((entry) => 'eval_loss' in entry);
    const metrics = evaluated?.step === trainer.state.global_step ? evaluated : await trainer.evaluate();
    row.eval_loss = [...row.eval_loss.filter(([step]) => step !== row.step), [row.step, metrics.eval_loss as number]];
    const key = name in metrics ? name : `eval_${name}`;
    if (!(key in metrics))
      throw new OptionError(`sweep: score = ${show(name)} is no figure of evaluations; these have ${Object.keys(metrics).join(', ')}.`);
    return metrics[key] as number;
  }
}

/** What the rows are told apart by: how many there are, and some of them. */
function rowsDigest({ train_dataset, eval_dataset }: SFTTrainerOptions): unknown {
  return [train_dataset, eval_dataset].map((given) => {
    if (!given) return null;
    const rows = datasetOf('sweep', 'train_dataset', given);
    const every = Math.max(1, Math.floor(rows.length / 200));
    const some = [...rows].filter((_, i) => i % every === 0);
    return [rows.length, createHash('sha256').update(JSON.stringify(some)).digest('hex')];
  });
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
 * interrupted or killed goes on when it is called again: finished runs are kept, the one it was in goes on from its last checkpoint. A run that fails
 * is told, and the others go on. Resolves with all runs and the best.
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
    greaterIsBetter: greater_is_better ?? !name.endsWith('loss'),
    best: null,
    runs: variants.map((variant) => ({
      ...{ id: '', name: variant.name, folder: join(folder, variant.folder), status: 'waiting', step: 0, totalSteps: 0 },
      values: Object.values(variant.values).map((value) => (Array.isArray(value) ? value.join(' ') : String(value))),
      ...{ parameters: 0, seconds: 0, peakBytes: 0, score: null, loss: [], eval_loss: [], text: '', made: '' },
    })),
  };
  const all = new Sweep(data, parts as SFTTrainerOptions, variants, score);
  await checkWritable(folder);
  await all.prepare();
  await all.run();
  return new SweepResult(data);
}
