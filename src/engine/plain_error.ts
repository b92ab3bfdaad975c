import { MemoryError } from '../core/errors';

/** What takes less memory, by what it was short for. */
const REMEDIES = {
  training:
    'a smaller per_device_train_batch_size or max_length, gradient_checkpointing: true, or a 4-bit base model (quantization_config)',
  loading:
    "matrices packed while they are loaded (quantization_config: new BitsAndBytesConfig({ load_in_4bit: true })), dtype: 'bfloat16', a smaller model, or model.dispose() of one that is not needed any more",
  generating:
    'fewer rows at once (batch_size), a smaller max_new_tokens, num_beams or num_return_sequences, shorter prompts, or a 4-bit model (quantization_config)',
  serving: 'a smaller max_tokens or n, or a shorter prompt; of the server fewer requests at once (max_num_seqs) or a 4-bit model',
  merging: "dtype: 'bfloat16', matrices that are packed again (quantization_config), or merging where no other model is loaded",
  evaluating: 'a smaller per_device_eval_batch_size or max_length, or a 4-bit model (quantization_config)',
} as const;
type Doing = keyof typeof REMEDIES;

const outOfMemory = (what: string, doing: Doing): MemoryError =>
  new MemoryError(`Out of memory: ${what}. What takes less: ${REMEDIES[doing]}.`);

/** What was short of memory in an op, of which nobody has said yet what it was for. */
const unsaid = new WeakMap<Error, string>();

const OUT_OF_MEMORY = '8';
const isShort = (error: Error): boolean =>
  (error instanceof RangeError && /allocation failed/.test(error.message)) ||
  (error as NodeJS.ErrnoException).code === 'ERR_MEMORY_ALLOCATION_FAILED';

/** What TensorFlow says of an op that failed, without its own wrapping; where memory is short, there or in JavaScript, with what takes less. */
export function plainError(error: Error): Error {
  const [, status, text] = error.message.match(/^Invalid TF_Status: (\d+)\s+Message: ([\s\S]*)/) ?? [];
  if (status && status !== OUT_OF_MEMORY) return new Error(text.trim());
  if (!status && !isShort(error)) return error;
  const what = status ? text.trim() : error.message;
  const made = outOfMemory(what, 'training');
  unsaid.set(made, what);
  return made;
}

/** The same of what is no training: where memory is short, what takes less of it there. */
export function remedied(error: unknown, doing: Doing): unknown {
  if (!(error instanceof Error)) return error;
  const plain = plainError(error);
  const what = unsaid.get(plain);
  return what === undefined ? plain : outOfMemory(what, doing);
}

/** Does something that takes much memory; an error for want of it says what takes less there. */
export async function sparing<T>(doing: Doing, f: () => Promise<T>): Promise<T> {
  try {
    return await f();
  } catch (error) {
    throw remedied(error, doing);
  }
}
