import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { inspect } from 'node:util';
import { FileError } from '../core/errors';
import { warnOnce } from '../core/events';
import { sortedJson } from '../core/json';
import { readOptions } from '../core/options';
import { DISPLAY, optionsShown, type Shown } from '../core/shown';
import { readJson } from '../formats/json';
import { resolveFile } from '../hub/resolve';
import { HUB_DEFAULTS, type HubOptions } from '../hub/settings';
import { CALL_NAMES, GENERATION_KEYS, type GenerationSettings, set } from './generation_fields';

/** What a model generates with unless a call says otherwise: generation_config.json, in its own names. Fields may be assigned to. */
export class GenerationConfig {
  [name: string]: unknown;

  constructor(fields: Partial<GenerationSettings> & Record<string, unknown> = {}) {
    Object.assign(this, set(readOptions('GenerationConfig', fields, CALL_NAMES)));
  }

  /** The generation_config.json of a model by Hub id or path. */
  static async from_pretrained(nameOrPath: string, options: Partial<HubOptions> & Record<string, unknown> = {}): Promise<GenerationConfig> {
    const path = await resolveFile(
      nameOrPath,
      'generation_config.json',
      readOptions('GenerationConfig.from_pretrained', options, HUB_DEFAULTS),
    );
    if (!path)
      throw new FileError(`${nameOrPath} has no generation_config.json. Load the model: its generation_config has what its files say.`);
    return readGenerationConfig(dirname(path), () => new GenerationConfig());
  }

  [inspect.custom](): string {
    return this[DISPLAY]()['text/plain'];
  }

  [DISPLAY](): Shown {
    return optionsShown('GenerationConfig', this);
  }

  /** What a config.json without a generation_config.json beside it says of generation, as files of older versions do. */
  static fromModelConfig(json: Record<string, unknown>): GenerationConfig {
    const found = Object.entries(json).filter(([name]) => Object.hasOwn(GENERATION_KEYS, name));
    return new GenerationConfig({ ...Object.fromEntries(found), _from_model_config: true });
  }

  /** generation_config.json as transformers writes it: what is set, keys sorted, two spaces. */
  toJson(): string {
    return sortedJson(set(this));
  }
}

/** A folder's generation_config.json, or where it has none what `otherwise` makes. Fields that nobody knows are named and left out. */
export async function readGenerationConfig(folder: string, otherwise: () => GenerationConfig): Promise<GenerationConfig> {
  const path = join(folder, 'generation_config.json');
  if (!existsSync(path)) return otherwise();
  const json = await readJson(path);
  const unknown = Object.keys(json).filter((name) => !Object.hasOwn(CALL_NAMES, name));
  if (unknown.length) warnOnce(`${path} has fields that neither tunebook nor transformers knows; they are ignored: ${unknown.join(', ')}.`);
  return new GenerationConfig(Object.fromEntries(Object.entries(json).filter(([name]) => !unknown.includes(name))));
}
