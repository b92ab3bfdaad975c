import { nearest, OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { show } from '../core/options';
import { type Adaptable, Embedding, Linear, type Module, TiedLinear } from '../nn';
import { areNames, type BaseModel } from './method';
import { fullMatch, layerIndex } from './patterns';

/** Which layers a method adapts, under PEFT's names. */
export interface Targets {
  /**
   * Ends of module names, 'all-linear' (all but the output head), or a regular expression of Python's for whole names. By default
   * what PEFT takes for the model (q_proj and v_proj of Llama's kind, say). Default: null.
   */
  target_modules: string | string[] | null;
  /** Ends of module names, or a regular expression for whole names, that are left out. Default: null. */
  exclude_modules: string | string[] | null;
  /** Numbers of the layers to adapt; only beside a list of target_modules. Default: null. */
  layers_to_transform: number | number[] | null;
  /** What the list of layers is called in module names, as regular expressions; only beside layers_to_transform. Default: null. */
  layers_pattern: string | string[] | null;
}

export const NO_TARGETS: Targets = { target_modules: null, exclude_modules: null, layers_to_transform: null, layers_pattern: null };

/** Refuses, by `refuse`, what is of the wrong form. */
export function checkTargets(o: Targets, refuse: (name: keyof Targets, why: string) => never): void {
  for (const name of ['target_modules', 'exclude_modules', 'layers_pattern'] as const)
    if (!areNames(o[name])) refuse(name, 'must be a string or a list of strings.');
  const layers = o.layers_to_transform;
  if (layers !== null && ![layers].flat().every((i) => Number.isSafeInteger(i) && i >= 0))
    refuse('layers_to_transform', 'must be the number of a layer, counted from 0, or a list of them.');
  if (typeof o.target_modules === 'string')
    for (const name of ['layers_to_transform', 'layers_pattern'] as const)
      if (o[name] !== null)
        refuse(name, `works beside a list of target_modules, which is ${show(o.target_modules)}. Choose the layers in it.`);
  if (o.layers_pattern?.length && layers === null) refuse('layers_pattern', 'needs layers_to_transform.');
}

/** A sort of module that a method can adapt. */
export interface Sort<M extends Module> {
  has(module: Module): module is M;
  /** What a module of another sort is not, in errors. */
  is: string;
  /** What there is of this sort in a model, as an error says it. */
  describe(modules: Map<string, Module>): string;
}

/** What PEFT adapts when target_modules is not given, by model_type; `default`: in a Llama and others like it. */
export type Usual = { default: string[]; [model_type: string]: string[] };

interface Search {
  /** Who asks, in errors. */
  owner: string;
  usual: Usual;
  /** Of a saved adapter the tensors say what there is: what names nothing is a warning. */
  saved: boolean;
}

/** Layers that give a model's answer: not among 'all-linear'. */
const HEADS = ['lm_head', 'score'];

export const isAdaptable = (module: Module): module is Adaptable => module instanceof Linear || module instanceof Embedding;
const ends = (path: string, name: string) => path === name || path.endsWith(`.${name}`);
export const matcher = (value: string | string[], owner: string): ((path: string) => boolean) =>
  typeof value === 'string' ? fullMatch(value, owner) : (path) => value.some((name) => ends(path, name));

/** The layers with a matrix that a config names, by path. */
export function targetLayers(model: BaseModel, config: Targets, search: Search): Map<string, Adaptable> {
  const found = targetModules(model, config, search, LAYERS);
  for (const [path, layer] of found)
    if (layer instanceof TiedLinear)
      warnOnce(
        `${search.owner}: ${path} shares its matrix with the embedding table. The adapter changes the output alone; merged, the two are no longer one.`,
      );
  return found;
}

/** The modules that a config names, by path, as PEFT finds them. What names nothing, or no module of this sort, is an error. */
export function targetModules<M extends Module>(model: BaseModel, config: Targets, search: Search, sort: Sort<M>): Map<string, M> {
  const { owner, saved, usual } = search;
  const modules = new Map([...model.namedModules()].filter(([path]) => path));
  const paths = [...modules.keys()];
  const tell = (text: string) => {
    if (!saved) throw new OptionError(text);
    warnOnce(text);
  };
  const names = sort.describe(modules);
  const target_modules = config.target_modules ?? usual[model.config.model_type ?? 'default'] ?? usual.default;
  const wanted = wantedPaths(modules, { ...config, target_modules }, owner, sort, tell);
  const { exclude_modules: excluded } = config;
  if (excluded?.length) {
    for (const item of typeof excluded === 'string' ? [excluded] : excluded) {
      const matches = matcher(typeof excluded === 'string' ? item : [item], 'exclude_modules');
      if (!paths.some(matches)) tell(`${owner}: exclude_modules ${show(item)} matches no module of the model. ${names}`);
    }
    const matches = matcher(excluded, 'exclude_modules');
    for (const path of [...wanted]) if (matches(path)) wanted.delete(path);
  }
  const found = new Map<string, M>();
  for (const [path, module] of modules) {
    if (!wanted.has(path)) continue;
    if (!sort.has(module)) throw new OptionError(`${owner}: target module ${path} is not supported: it is ${sort.is}. ${names}`);
    found.set(path, module);
  }
  if (!found.size) throw new OptionError(`${owner}: target_modules, exclude_modules and layers_to_transform leave no module. ${names}`);
  return found;
}

function wantedPaths(
  modules: Map<string, Module>,
  { target_modules: targets, ...config }: Targets & { target_modules: string | string[] },
  owner: string,
  sort: Sort<Module>,
  tell: (text: string) => void,
): Set<string> {
  const paths = [...modules.keys()];
  if (typeof targets === 'string') {
    if (targets.toLowerCase() === 'all-linear')
      return new Set(paths.filter((path) => modules.get(path) instanceof Linear && !HEADS.includes(path)));
    const found = paths.filter(fullMatch(targets, 'target_modules'));
    if (!found.length) tell(unmatched(owner, [targets], modules, sort));
    return new Set(found);
  }
  const missing = targets.filter((name) => !paths.some((path) => ends(path, name)));
  if (missing.length || !targets.length) tell(unmatched(owner, missing, modules, sort));
  const found = paths.filter((path) => targets.some((name) => ends(path, name)));
  const layers = config.layers_to_transform === null ? [] : [config.layers_to_transform].flat();
  if (!layers.length) return new Set(found);
  const indexOf = layerIndex([config.layers_pattern ?? []].flat(), 'layers_pattern');
  const absent = layers.filter((layer) => !found.some((path) => indexOf(path) === layer));
  if (absent.length)
    tell(
      `${owner}: layers_to_transform has ${absent.join(', ')}, but no target module is in such a layer` +
        `${config.layers_pattern?.length ? ` of ${show(config.layers_pattern)}` : ''}. Layers are counted from 0.`,
    );
  // A full name is taken whatever layer it is in.
  return new Set(found.filter((path) => targets.includes(path) || layers.includes(indexOf(path) as number)));
}

/** The last parts of the names of those modules that are wanted. */
export const lastNames = (modules: Map<string, Module>, wanted: (module: Module) => boolean) => [
  ...new Set([...modules].flatMap(([path, module]) => (wanted(module) ? [path.replace(/^.*\./, '')] : []))),
];

/** Layers with a matrix. */
export const LAYERS: Sort<Adaptable> = {
  has: isAdaptable,
  is: 'neither a linear layer nor an embedding table',
  describe: (modules) =>
    `Its linear layers are called ${lastNames(modules, (m) => m instanceof Linear).join(', ')}, its embedding table ` +
    `${lastNames(modules, (m) => m instanceof Embedding).join(', ')}; 'all-linear' takes all linear layers but the output head.`,
};

function unmatched(owner: string, missing: string[], modules: Map<string, Module>, sort: Sort<Module>): string {
  const guesses = missing.map((name) => nearest(name, lastNames(modules, sort.has))).filter(Boolean);
  return (
    `${owner}: ${missing.length ? `target_modules ${missing.map(show).join(', ')} match no module of the model` : 'target_modules is empty'}. ` +
    sort.describe(modules) +
    (guesses.length ? ` Did you mean ${guesses.map(show).join(', ')}?` : '')
  );
}
