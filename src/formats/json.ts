import { FileError } from '../core/errors';
import { readText } from './text';

async function parsed(path: string): Promise<unknown> {
  const text = await readText(path);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new FileError(`${path} is not JSON (${(error as Error).message}): it is damaged, or was written only in part. Get it again.`);
  }
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** A JSON file that holds one object. */
export async function readJson(path: string): Promise<Record<string, unknown>> {
  const value = await parsed(path);
  if (!isObject(value)) throw new FileError(`${path} does not hold a JSON object.`);
  return value;
}

/** A JSON file that holds a list of objects. */
export async function readJsonList(path: string): Promise<Record<string, unknown>[]> {
  const value = await parsed(path);
  if (!Array.isArray(value) || !value.every(isObject)) throw new FileError(`${path} does not hold a list of JSON objects.`);
  return value;
}
