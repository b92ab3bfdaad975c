import { existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { inspect as nodeInspect } from 'node:util';
import {
  ADAPTER_MIME,
  type AdapterData,
  type AdapterModule,
  adapterPayload,
  adapterSummary,
  effectiveRank,
  heatmapSpec,
  inOrder,
  layersOverlap,
  moduleOf,
  notesOf,
  overlap,
  PAPER,
  pairsOf,
  scaleOf,
  tensorOf,
} from '../../views';
import { FileError, OptionError } from '../core/errors';
import { turn } from '../core/interrupt';
import { readOptions } from '../core/options';
import { mergeCheck } from '../evaluate/merge_check';
import { floats } from '../formats/floats';
import { readJson } from '../formats/json';
import { readSafetensors, type SafeTensor } from '../formats/safetensors';
import { readPart } from '../formats/slices';
import type { CausalLM } from '../models/causal_lm';
import { type Linear, Parameter } from '../nn';
import { pairsIn } from '../peft/lora_term';
import { PeftModel } from '../peft/model';
import type { Tokenizer } from '../tokenizers/tokenizer';
import { checkpointsOf } from '../train/output_dir';
import { baseWeights, normOf } from './base_weights';
import { bundleOf } from './bundle';
import { ChartThread } from './chart';
import { type Bundle, Display, inNotebook } from './display';
import { type LazyUpdate, spectra } from './spectra';

/** Options of `inspect`. */
export interface InspectOptions {
  /** Folders of checkpoints, to see how the adapter grew; by default those beside or in the folder. Default: null. */
  checkpoints: string[] | null;
  /** Another adapter's folder: how much the two share. Default: null. */
  compare: string | null;
  /** A text on which the merged model is compared with the adapter beside its base; needs a model and its tokenizer. Default: null. */
  merge_check: string | null;
  /** The model's tokenizer, for merge_check. Default: null. */
  tokenizer: Tokenizer | null;
  /** Of an adapter in a folder: its base model's name, folder or .gguf file; by default the one that it names, where that is at hand. Default: null. */
  base_model: string | null;
}

const DEFAULTS: InspectOptions = { checkpoints: null, compare: null, merge_check: null, tokenizer: null, base_model: null };
const FILE = 'adapter_model.safetensors';

/** An adapter's modules before their spectra are known. */
interface Source {
  name: string;
  method: string;
  base: string;
  total: number | null;
  notes: string[];
  updates: { module: string; update: LazyUpdate; weight: () => Promise<number | null> }[];
  others: AdapterModule[];
  close: () => Promise<void>;
}

/** What `inspect` finds. As a cell's last value it shows itself; `show()` does so anywhere. */
export class AdapterReport {
  constructor(
    readonly data: AdapterData,
    private readonly picture: Buffer,
  ) {}

  get modules(): AdapterModule[] {
    return this.data.modules;
  }

  /** The report as an output for readers of all kinds: our view, HTML, a picture, text. */
  bundle(): Bundle {
    return bundleOf({
      mime: ADAPTER_MIME,
      payload: adapterPayload(this.data),
      title: `Adapter ${this.data.name}`,
      notes: this.data.notes,
      rows: adapterSummary(this.data),
      picture: { png: this.picture, alt: `Size of the update of each module of ${this.data.name}` },
    });
  }

  [Symbol.for('Jupyter.display')](): Bundle {
    return this.bundle();
  }

  [nodeInspect.custom](): unknown {
    return this.bundle()['text/plain'];
  }

  /** Shows it: in a notebook as an output, elsewhere as text. */
  show(): void {
    if (inNotebook()) new Display(`tunebook-adapter-${Date.now()}`).show(this.bundle());
    else console.log(this);
  }
}

/** `beside`: its base model is looked at too, the one of this name or its own. */
async function fromFolder(folder: string, beside?: { base_model: string | null }): Promise<Source> {
  const path = join(folder, FILE);
  if (!existsSync(path))
    throw new FileError(
      `'${folder}' has no ${FILE}: it is not a saved adapter. A folder written by trainer.save_model() or save_pretrained is expected.`,
    );
  const configPath = join(folder, 'adapter_config.json');
  const config = existsSync(configPath) ? await readJson(configPath) : undefined;
  const { pairs, others } = pairsOf((await readSafetensors(path)).tensors.values());
  const base = String(config?.base_model_name_or_path ?? '');
  const weights = beside && (await baseWeights(base, beside.base_model));
  // Without a dense update there is nothing that weights would be beside.
  const notes = pairs.length ? (weights?.notes ?? []) : [];
  notes.push(...notesOf(pairs, others, typeof config?.lora_alpha === 'number'));
  const file = await open(path, 'r');
  const values = async (tensor: SafeTensor) => {
    const decode = floats[tensor.type as keyof typeof floats];
    if (!decode) throw new FileError(`${path}: ${tensor.name} is stored as ${tensor.type}; F32, F16 or BF16 is expected.`);
    const bytes = await readPart(path, file, tensor);
    const count = tensor.shape.reduce((product, n) => product * n, 1);
    // fp32 as it is, without another copy.
    return tensor.type === 'F32' ? new Float32Array(bytes.buffer as ArrayBuffer, 0, count) : decode(bytes, count);
  };
  return {
    name: folder,
    method: String(config?.peft_type ?? 'LORA'),
    base,
    total: weights?.total ?? null,
    notes,
    updates: pairs.map(({ module, a, b }) => {
      const [r, inFeatures] = a.shape;
      const scale = scaleOf(config, module, r) ?? 1;
      return {
        module,
        update: { r, inFeatures, outFeatures: b.shape[0], scale, values: async () => ({ a: await values(a), b: await values(b) }) },
        weight: async () => weights?.norm(module, [b.shape[0], a.shape[1]]) ?? null,
      };
    }),
    others: await Promise.all(others.map(async (tensor) => tensorOf(tensor, await values(tensor)))),
    close: () => file.close(),
  };
}

/** Norms of frozen weights: they do not change while training. */
const norms = new WeakMap<object, number>();

async function frozenNorm({ weight }: Linear): Promise<number> {
  const norm = norms.get(weight) ?? (await normOf(weight));
  if (!(weight instanceof Parameter)) norms.set(weight, norm);
  return norm;
}

async function fromModel(model: PeftModel<CausalLM>): Promise<Source> {
  const base = model.base_model;
  const linears = new Map<string, Linear>();
  const pairs = pairsIn(model.attached);
  for (const [path, module] of base.namedModules()) if (pairs.has(path)) linears.set(path, module as Linear);
  const copy = async ({ tensor }: Parameter) => Float32Array.from((await tensor.data()) as Float32Array);
  const halves = new Set([...pairs.values()].flatMap(({ a, b }) => [a, b]));
  const others = model.attached.flatMap(({ parameters }) => [...parameters].filter(([, p]) => !halves.has(p)));
  const told = inOrder(others, ([name]) => name).map(async ([name, p]) => tensorOf({ name, shape: p.shape }, await copy(p)));
  return {
    name: `beside ${basename(base.config._name_or_path)}`,
    method: model.active_peft_config.peft_type,
    base: base.config._name_or_path,
    total: base.numParameters(),
    notes: notesOf([...pairs], others, true),
    updates: [...pairs].map(([module, { a, b, scale }]) => ({
      module,
      update: {
        ...{ r: a.shape[0], inFeatures: a.shape[1], outFeatures: b.shape[0], scale },
        values: async () => ({ a: await copy(a), b: await copy(b) }),
      },
      weight: () => frozenNorm(linears.get(module) as Linear),
    })),
    others: await Promise.all(told),
    close: async () => {},
  };
}

/** Its modules with their spectra. A source from a folder holds a file open until it is closed. */
async function modulesOf({ updates, others }: Source): Promise<AdapterModule[]> {
  const singular = await spectra(updates.map(({ update }) => update));
  const found: AdapterModule[] = [];
  for (const [i, { module, update, weight }] of updates.entries()) found.push(moduleOf(module, update, singular[i], await weight()));
  return [...found, ...others];
}

/** Those of its run that hold an adapter, in a folder, or beside it where it is one of them. */
const adaptersOf = (folder: string): string[] =>
  checkpointsOf(folder)
    .map(({ path }) => path)
    .filter((path) => existsSync(join(path, FILE)))
    .slice(-200);

async function overlapWith(source: Source, another: Source): Promise<AdapterData['overlap']> {
  const other = new Map(another.updates.map((u) => [u.module, u.update]));
  const shares: { reads: number | null; writes: number | null }[] = [];
  for (const { module, update: x } of source.updates) {
    const y = other.get(module);
    const comparable = y && y.inFeatures === x.inFeatures && y.outFeatures === x.outFeatures;
    shares.push(comparable ? overlap({ ...x, ...(await x.values()) }, { ...y, ...(await y.values()) }) : { reads: null, writes: null });
  }
  if (shares.every(({ reads }) => reads === null))
    throw new OptionError(
      `inspect: '${another.name}' has no update of a module that this adapter updates. Compare adapters of the same base model.`,
    );
  const none = Array<null>(source.others.length).fill(null);
  return { other: another.name, reads: [...shares.map((s) => s.reads), ...none], writes: [...shares.map((s) => s.writes), ...none] };
}

/**
 * What an adapter adds to its base model: for every module the norm and singular values of its update, against the weight where
 * the model is given or on this machine; how it grew over checkpoints; how much it shares with another; what merging would change.
 */
export async function inspect(
  adapter: PeftModel<CausalLM> | string,
  options: Partial<InspectOptions> & Record<string, unknown> = {},
): Promise<AdapterReport> {
  const o = readOptions<InspectOptions>('inspect', options, DEFAULTS);
  const isModel = adapter instanceof PeftModel;
  if (!isModel && typeof adapter !== 'string')
    throw new OptionError('inspect takes a model with an adapter (get_peft_model, trainer.model), or the folder of a saved one.');
  if (isModel && o.base_model !== null)
    throw new OptionError('inspect: base_model is for the folder of a saved adapter; a model has its base beside it.');
  const checkpoints = o.checkpoints ?? (isModel ? [] : adaptersOf(adapter));
  let folder = isModel ? '' : adapter;
  // The output folder of a run that was stopped: its last checkpoint is what there is.
  if (!isModel && !existsSync(join(folder, FILE)) && checkpoints.length) folder = checkpoints[checkpoints.length - 1];
  const charts = new ChartThread();
  const opened: Source[] = [];
  const folderSource = async (path: string, beside?: InspectOptions) => {
    const source = await fromFolder(path, beside);
    opened.push(source);
    return source;
  };
  try {
    const source = isModel ? await fromModel(adapter) : await folderSource(folder, o);
    const modules = await modulesOf(source);
    const wrong = modules.find(({ delta }) => !Number.isFinite(delta));
    if (wrong)
      throw new FileError(
        `${source.name}: ${wrong.name} holds values that are no numbers. Its training failed; take an earlier checkpoint.`,
      );
    const history: AdapterData['history'] = [];
    for (const path of checkpoints) {
      const at = new Map((await modulesOf(await folderSource(path))).map((m) => [m.name, m]));
      history.push({
        step: Number(path.match(/(\d+)\/*$/)?.[1] ?? history.length),
        deltas: modules.map(({ name }) => at.get(name)?.delta ?? 0),
        effectiveRanks: modules.map(({ name }) => effectiveRank(at.get(name)?.singular ?? [])),
      });
    }
    const data: AdapterData = {
      ...{ name: source.name, method: source.method, base: source.base, total: source.total, notes: source.notes },
      createdAt: new Date().toISOString(),
      modules,
      history,
      overlap: o.compare === null ? null : await overlapWith(source, await folderSource(o.compare)),
      between: await layersOverlap(
        source.updates.map(({ module, update }) => ({ name: module, ...update })),
        turn,
      ),
      merge: o.merge_check === null ? null : await mergeCheck(...mergeInput(adapter, o)),
    };
    return new AdapterReport(data, await charts.png(heatmapSpec(data, PAPER)));
  } finally {
    await Promise.all([charts.end(), ...opened.map((source) => source.close())]);
  }
}

/** The model and the tokens that the merge check runs on. */
function mergeInput(
  adapter: PeftModel<CausalLM> | string,
  { merge_check: text, tokenizer }: InspectOptions,
): [PeftModel<CausalLM>, number[]] {
  if (!(adapter instanceof PeftModel) || !tokenizer || typeof text !== 'string')
    throw new OptionError(
      'inspect: merge_check needs a text, the model (not a folder) and its tokenizer: inspect(model, { merge_check: "a text", tokenizer }).',
    );
  return [adapter, tokenizer.encode(text).slice(0, 256)];
}
