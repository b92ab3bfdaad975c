import { nearest, OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { show } from '../core/options';
import { type Adaptable, Embedding, Linear, type Module, TiedLinear } from '../nn';
import { areNames } from './method';
import { fullMatch, layerIndex } from './patterns';

/** Which layers a method adapts, under PEFT's names. */
export interface Targets {
  /**
   * Ends of module names, 'all-linear' (all but the output head), or a regular expression of Python's for whole names. By default
   * what PEFT takes for Llama.
   */
  target_modules: string | string[] | null;
  /** Ends of module names, or a regular expression for whole names, that are left out. */
  exclude_modules: string | string[] | null;
  /** Numbers of the layers to adapt; only beside a list of target_modules. */
  layers_to_transform: number | number[] | null;
  /** What the list of layers is called in module names, as regular expressions; only beside layers_to_transform. */
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

interface Search {
  /** Who asks, in errors. */
  owner: string;
  /** What is adapted when target_modules is not given. */
  usual: string[];
  /** Of a saved adapter the tensors say what there is: what names nothing is a warning. */
  saved: boolean;
}

const isAdaptable = (module: Module): module is Adaptable & Module => module instanceof Linear || module instanceof Embedding;
const ends = (path: string, name: string) => path === name || path.endsWith(`.${name}`);
export const matcher = (value: string | string[], owner: string): ((path: string) => boolean) =>
  typeof value === 'string' ? fullMatch(value, owner) : (path) => value.some((name) => ends(path, name));

/** The layers that a config names, by path, as PEFT finds them. What names nothing is an error. */
export function targetLayers(model: Module, config: Targets, search: Search): Map<string, Adaptable> {
  const { owner, saved } = search;
  const modules = new Map([...model.namedModules()].filter(([path]) => path));
  const paths = [...modules.keys()];
  const tell = (text: string) => {
    if (!saved) throw new OptionError(text);
    warnOnce(text);
  };
  const names = describe(modules);
  const wanted = wantedPaths(modules, config, search, tell);
  const { exclude_modules: excluded } = config;
  if (excluded?.length) {
    for (const item of typeof excluded === 'string' ? [excluded] : excluded) {
      const matches = matcher(typeof excluded === 'string' ? item : [item], 'exclude_modules');
      if (!paths.some(matches)) tell(`${owner}: exclude_modules ${show(item)} matches no module of the model. ${names}`);
    }
    const matches = matcher(excluded, 'exclude_modules');
    for (const path of [...wanted]) if (matches(path)) wanted.delete(path);
  }
  const found = new Map<string, Adaptable>();
  for (const [path, module] of modules) {
    if (!wanted.has(path)) continue;
    if (!isAdaptable(module))
      throw new OptionError(
        `${owner}: target module ${path} is not supported: it is neither a linear layer nor an embedding table. ${names}`,
      );
    found.set(path, module);
    if (module instanceof TiedLinear)
      warnOnce(
        `${owner}: ${path} shares its matrix with the embedding table. The adapter changes the output alone; merged, the two are no longer one.`,
      );
  }
  if (!found.size) throw new OptionError(`${owner}: target_modules, exclude_modules and layers_to_transform leave no module. ${names}`);
  return found;
}

function wantedPaths(modules: Map<string, Module>, config: Targets, { owner, usual }: Search, tell: (text: string) => void): Set<string> {
  const paths = [...modules.keys()];
  const targets = config.target_modules ?? usual;
  if (typeof targets === 'string') {
    if (targets.toLowerCase() === 'all-linear')
      return new Set(paths.filter((path) => modules.get(path) instanceof Linear && path !== 'lm_head'));
    const found = paths.filter(fullMatch(targets, 'target_modules'));
    if (!found.length) tell(unmatched(owner, [targets], modules));
    return new Set(found);
  }
  const missing = targets.filter((name) => !paths.some((path) => ends(path, name)));
  if (missing.length || !targets.length) tell(unmatched(owner, missing, modules));
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

const lastNames = (modules: Map<string, Module>, wanted: (module: Module) => boolean) => [
  ...new Set([...modules].flatMap(([path, module]) => (wanted(module) ? [path.replace(/^.*\./, '')] : []))),
];

/** What can be targeted, as an error says it. */
function describe(modules: Map<string, Module>): string {
  return (
    `Its linear layers are called ${lastNames(modules, (m) => m instanceof Linear).join(', ')}, its embedding table ` +
    `${lastNames(modules, (m) => m instanceof Embedding).join(', ')}; 'all-linear' takes all linear layers but the output head.`
  );
}

function unmatched(owner: string, missing: string[], modules: Map<string, Module>): string {
  const guesses = missing.map((name) => nearest(name, lastNames(modules, isAdaptable))).filter(Boolean);
  return (
    `${owner}: ${missing.length ? `target_modules ${missing.map(show).join(', ')} match no module of the model` : 'target_modules is empty'}. ` +
    describe(modules) +
    (guesses.length ? ` Did you mean ${guesses.map(show).join(', ')}?` : '')
  );
}
