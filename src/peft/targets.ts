import { nearest, OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { show } from '../core/options';
import { type Adaptable, Embedding, Linear, type Module, TiedLinear } from '../nn';
import type { LoraConfig } from './config';
import { endMatch, fullMatch, layerIndex } from './patterns';

/** What PEFT adapts in a Llama when target_modules is not given. */
const USUAL = ['q_proj', 'v_proj'];

const isAdaptable = (module: Module): module is Adaptable & Module => module instanceof Linear || module instanceof Embedding;
const ends = (path: string, name: string) => path === name || path.endsWith(`.${name}`);
const matcher = (value: string | string[], owner: string): ((path: string) => boolean) =>
  typeof value === 'string' ? fullMatch(value, owner) : (path) => value.some((name) => ends(path, name));

/**
 * The layers that a config names, by path, as PEFT finds them. What names nothing is an error; of a saved adapter, whose tensors say
 * what there is, a warning.
 */
export function targetModules(model: Module, config: LoraConfig, saved = false): Map<string, Adaptable> {
  const modules = new Map([...model.namedModules()].filter(([path]) => path));
  const paths = [...modules.keys()];
  const tell = (text: string) => {
    if (!saved) throw new OptionError(text);
    warnOnce(text);
  };
  const names = describe(modules);
  const wanted = wantedPaths(modules, config, tell);
  const { exclude_modules: excluded } = config;
  if (excluded?.length) {
    for (const item of typeof excluded === 'string' ? [excluded] : excluded) {
      const matches = matcher(typeof excluded === 'string' ? item : [item], 'exclude_modules');
      if (!paths.some(matches)) tell(`LoraConfig: exclude_modules ${show(item)} matches no module of the model. ${names}`);
    }
    const matches = matcher(excluded, 'exclude_modules');
    for (const path of [...wanted]) if (matches(path)) wanted.delete(path);
  }
  const found = new Map<string, Adaptable>();
  for (const [path, module] of modules) {
    if (!wanted.has(path)) continue;
    if (!isAdaptable(module))
      throw new OptionError(
        `LoraConfig: target module ${path} is not supported: it is neither a linear layer nor an embedding table. ${names}`,
      );
    found.set(path, module);
    if (module instanceof TiedLinear)
      warnOnce(
        `LoraConfig: ${path} shares its matrix with the embedding table. The adapter changes the output alone; merged, the two are no longer one.`,
      );
  }
  if (!found.size) throw new OptionError(`LoraConfig: target_modules, exclude_modules and layers_to_transform leave no module. ${names}`);
  for (const name of ['rank_pattern', 'alpha_pattern'] as const)
    for (const pattern of Object.keys(config[name]))
      if (![...found.keys()].some(endMatch(pattern, name)))
        tell(`LoraConfig: ${name} has ${show(pattern)}, which fits none of the adapted modules.`);
  return found;
}

function wantedPaths(modules: Map<string, Module>, config: LoraConfig, tell: (text: string) => void): Set<string> {
  const paths = [...modules.keys()];
  const targets = config.target_modules ?? USUAL;
  if (typeof targets === 'string') {
    if (targets.toLowerCase() === 'all-linear')
      return new Set(paths.filter((path) => modules.get(path) instanceof Linear && path !== 'lm_head'));
    const found = paths.filter(fullMatch(targets, 'target_modules'));
    if (!found.length) tell(unmatched([targets], modules));
    return new Set(found);
  }
  const missing = targets.filter((name) => !paths.some((path) => ends(path, name)));
  if (missing.length || !targets.length) tell(unmatched(missing, modules));
  const found = paths.filter((path) => targets.some((name) => ends(path, name)));
  const layers = config.layers_to_transform === null ? [] : [config.layers_to_transform].flat();
  if (!layers.length) return new Set(found);
  const indexOf = layerIndex([config.layers_pattern ?? []].flat(), 'layers_pattern');
  const absent = layers.filter((layer) => !found.some((path) => indexOf(path) === layer));
  if (absent.length)
    tell(
      `LoraConfig: layers_to_transform has ${absent.join(', ')}, but no target module is in such a layer` +
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

function unmatched(missing: string[], modules: Map<string, Module>): string {
  const guesses = missing.map((name) => nearest(name, lastNames(modules, isAdaptable))).filter(Boolean);
  return (
    `LoraConfig: ${missing.length ? `target_modules ${missing.map(show).join(', ')} match no module of the model` : 'target_modules is empty'}. ` +
    describe(modules) +
    (guesses.length ? ` Did you mean ${guesses.map(show).join(', ')}?` : '')
  );
}
