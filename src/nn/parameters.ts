import { FileError } from '../core/errors';
import { take } from '../engine/backend';
import * as tf from '../engine/tf';
import { floats } from '../formats/floats';
import { readSafetensors, type Writable, writeSafetensors } from '../formats/safetensors';
import { withFile } from '../formats/slices';
import { type Matrix, Parameter } from './module';

const valuesOf = async (tensor: Matrix, turned: boolean): Promise<Float32Array> => {
  if (turned) return take(tf.tidy(() => tf.transpose(tensor instanceof Parameter ? tensor.tensor : tensor.dequantize())));
  return tensor instanceof Parameter ? ((await tensor.tensor.data()) as Float32Array) : take(tensor.dequantize());
};

/** A tensor by its name, and whether files have it turned. */
type Named = [name: string, tensor: Matrix, turned?: boolean];

/** A tensor as files have it: in fp32, a frozen weight unpacked when its turn comes. */
export const writable = ([name, tensor, said = false]: Named): Writable => {
  const turned = tensor instanceof Parameter ? tensor.turned || said : said;
  return { name, shape: turned ? tensor.shape.toReversed() : tensor.shape, data: () => valuesOf(tensor, turned) };
};

/** Writes tensors by name in fp32, one at a time. */
export const writeTensors = (path: string, tensors: Iterable<Named>): Promise<void> => writeSafetensors(path, [...tensors].map(writable));

/** Replaces the values of parameters by those of a file with just these names and shapes, beside those that `others` names. */
export async function readParameters(path: string, parameters: Map<string, Parameter>, others?: ReadonlySet<string>): Promise<void> {
  const file = await readSafetensors(path);
  const missing = [...parameters.keys()].filter((name) => !file.tensors.has(name));
  const unexpected = [...file.tensors.keys()].filter((name) => !parameters.has(name) && !others?.has(name));
  if (missing.length || unexpected.length)
    throw new FileError(
      `${path} does not fit this model. ` +
        (missing.length ? `Missing: ${missing.length} tensors, such as ${missing[0]}. ` : '') +
        (unexpected.length ? `Unexpected: ${unexpected.length} tensors, such as ${unexpected[0]}. ` : '') +
        'Is the base model the one it was trained on?',
    );
  await withFile(path, async (read) => {
    for (const [name, parameter] of parameters) {
      const stored = file.tensors.get(name) as NonNullable<ReturnType<typeof file.tensors.get>>;
      const needed = parameter.turned ? parameter.shape.toReversed() : parameter.shape;
      if (stored.shape.join() !== needed.join())
        throw new FileError(
          `${path}: ${name} is [${stored.shape}], but the model needs [${needed}]. Is the base model the one it was trained on?`,
        );
      if (!(stored.type in floats)) throw new FileError(`${path}: ${name} is stored as ${stored.type}; F32, F16 or BF16 is expected.`);
      const data = floats[stored.type as keyof typeof floats](await read(stored), parameter.tensor.size);
      const values = () => tf.tensor(data, needed);
      parameter.assign(tf.keep(parameter.turned ? tf.tidy(() => tf.transpose(values())) : values()));
    }
  });
}
