/** What of a model's loading says which model it is, where a call said it. */
export interface Asked {
  dtype: string;
  /** A branch, tag or commit of the Hub; null: the main branch. */
  revision: string | null;
  /** Which part of a repository or folder it is. */
  subfolder: string;
  gguf_file: string | null;
}

const models = new WeakMap<object, Asked>();

/** Remembers what a model was asked for by. */
export function askedFor<M extends object>(model: M, asked: Asked): M {
  models.set(model, asked);
  return model;
}

/** How this model was asked for; undefined for one that was made otherwise. */
export const askedOf = (model: object): Asked | undefined => models.get(model);
