import { readFile } from 'node:fs/promises';
import { FileError } from '../core/errors';

/** A JSON file that holds one object. */
export async function readJson(path: string): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new FileError(`${path} cannot be read (${(error as Error).message}).`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new FileError(`${path} is not JSON (${(error as Error).message}): it is damaged, or was written only in part. Get it again.`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new FileError(`${path} does not hold a JSON object.`);
  return value as Record<string, unknown>;
}
