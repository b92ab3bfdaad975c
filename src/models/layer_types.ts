import { FileError } from '../core/errors';
import { show } from '../core/options';
import type { KeyTable } from './keys';

/** What config.json says of windows that some layers see. */
export interface Windows {
  num_hidden_layers: number;
  use_sliding_window?: boolean;
  /** Tokens that a token of a layer with a window sees, itself among them. */
  sliding_window: number | null;
  layer_types?: string[] | null;
}

export const WINDOW_KEYS: KeyTable = { use_sliding_window: 'obeyed', sliding_window: 'obeyed', layer_types: 'obeyed' };
const TYPES = ['full_attention', 'sliding_attention'];

/** Refuses layer_types that say nothing of some layer, or give a window where there is none. */
export function checkLayerTypes(config: Windows, name: string): void {
  const { layer_types: types, use_sliding_window: on = true, sliding_window: window, num_hidden_layers: layers } = config;
  const fail = (what: string) => new FileError(`The config.json of ${name} sets layer_types to ${show(types)}: ${what}.`);
  if (types && (!Array.isArray(types) || types.length !== layers || !types.every((type) => TYPES.includes(type))))
    throw fail(`it must say ${TYPES.map(show).join(' or ')} for each of ${layers} layers`);
  if (types?.includes('sliding_attention') && !(on && window)) throw fail('but use_sliding_window and sliding_window give them no window');
}

/** The window of each layer: of those that layer_types name, or where it says nothing those of which `slides` is true. */
export const windowOf =
  ({ use_sliding_window: on = true, sliding_window: window, layer_types: types }: Windows, slides: (layer: number) => boolean) =>
  (layer: number): number | undefined =>
    on && (types ? types[layer] === 'sliding_attention' : slides(layer)) ? (window ?? undefined) : undefined;
