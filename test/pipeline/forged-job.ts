import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { expect } from 'vitest';
import { canonicalJson, isJsonObject, type JsonObject, type JsonValue } from '#src/core/json.js';
import { SoftpackError } from '#src/errors.js';

type Path = readonly (string | number)[];

function* pathsOf(value: JsonValue, path: Path = []): Generator<Path> {
  if (typeof value !== 'object' || value === null) return;
  for (const key of Array.isArray(value) ? value.keys() : Object.keys(value)) {
    const at = [...path, key];
    yield at;
    yield* pathsOf((value as JsonObject)[key], at);
  }
}

function without(value: JsonValue, path: Path, put: JsonValue | undefined): JsonValue | undefined {
  const [key, ...rest] = path;
  if (key === undefined) return put;
  const changed = without((value as JsonObject)[key], rest, put);
  if (Array.isArray(value)) {
    const list: readonly (JsonValue | undefined)[] = value.with(Number(key), changed as JsonValue);
    return list.filter((one) => one !== undefined);
  }
  const { [String(key)]: _, ...others } = value as JsonObject;
  return changed === undefined ? others : { ...others, [key]: changed };
}

/** Writes a job with the hash of its content. */
export async function writeForged(file: string, job: JsonObject): Promise<void> {
  const plain = JSON.stringify(canonicalJson(job.content, 'job'));
  const id = createHash('sha256').update(plain).digest('hex');
  await writeFile(file, JSON.stringify({ ...job, id }));
}

/**
 * Takes one field after the other out of a job, or makes it null, a list or a number, with the hash of what is left, and
 * takes a step each time: what it throws must be a typed error.
 */
export async function forge(file: string, step: () => Promise<unknown>): Promise<void> {
  const text = await readFile(file, 'utf8');
  const job = JSON.parse(text) as JsonObject;
  const { content, options } = job;
  for (const path of pathsOf({ content, options })) {
    for (const put of [undefined, null, [], -1]) {
      const forged = without(job, path, put) as JsonObject;
      if (!isJsonObject(forged.content)) continue;
      await writeForged(file, forged);
      try {
        await step();
      } catch (error) {
        const what = `${path.join('.')} = ${JSON.stringify(put)}: ${error}`;
        expect(error instanceof SoftpackError, what).toBe(true);
      }
    }
  }
  await writeFile(file, text);
  await step();
}
