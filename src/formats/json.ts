import { FileError } from '../core/errors';
import { readText } from './text';

/** A JSON file that holds one object. */
export async function readJson(path: string): Promise<Record<string, unknown>> {
  const text = await readText(path);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new FileError(`${path} is not JSON (${(error as Error).message}): it is damaged, or was written only in part. Get it again.`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new FileError(`${path} does not hold a JSON object.`);
  return value as Record<string, unknown>;
}
