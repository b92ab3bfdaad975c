import { execute, executeHandle, Handle } from '../backend';
import * as tf from '../tf';

/** So many bytes in the process's memory, zeros, to be written by ops. Native engine only. */
export const emptyBytes = (size: number): Handle => executeHandle('TunebookEmpty', [], { size }, size);

/** So many zeros, which take no memory while they are only read. Native engine only. */
export const untouchedZeros = (size: number): Handle => executeHandle('TunebookZeros', [], { size }, size);

/** The folder's name as an op takes it. */
function inFolder<T>(folder: string, f: (name: Handle) => T): T {
  const name = Handle.create(new Uint8Array(Buffer.from(folder)));
  try {
    return f(name);
  } finally {
    name.dispose();
  }
}

/**
 * Paged memory, zeros: pages of a file without a name in `folder`, which the system may write out where memory is short and which count
 * as no memory of the process's own. The disk has room for them, or this is an error. Native engine only.
 */
export const pagedBytes = (size: number, folder: string): Handle =>
  inFolder(folder, (name) => executeHandle('TunebookPagedBytes', [name], { size }, size));

/** The same as a kept tensor of fp32 values [size], which ops may change in place. */
export const pagedFloats = (size: number, folder: string): tf.Tensor =>
  inFolder(folder, (name) => tf.keep(execute('TunebookPagedFloats', [name], { size }, 1)[0]));

/** Copies values into a tensor of as many, in place. Native engine only. */
export const copyInto = (to: tf.Tensor, from: tf.Tensor): void => {
  execute('TunebookCopy', [to, from], {}, 0);
};
