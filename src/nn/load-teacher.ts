import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Normalisation } from '../augment/replay.js';
import { SoftpackError } from '../errors.js';
import { type BackendName, selectBackend } from './backend.js';
import type { Teacher } from './teacher.js';
import { loadConvNet } from './weights.js';

/** Metadata entry of a model file: JSON of the {@link Normalisation} that its pixels need. */
export const NORMALISATION_KEY = 'normalisation';

/**
 * A teacher from a file that `saveConvNet` wrote, for the calling thread.
 *
 * @throws `INVALID_FILE` for any other file, `BACKEND_UNAVAILABLE` if the backend asked for is not ready.
 */
export async function loadTeacher(
  path: string,
  options: { readonly backend?: 'auto' | BackendName } = {},
): Promise<Teacher> {
  await selectBackend(options);
  const { model, metadata } = await loadConvNet(path);
  const sha256 = createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
  const { inputSize, classes } = model.config;
  return {
    classes,
    size: [inputSize, inputSize],
    normalisation: parseNormalisation(path, metadata.get(NORMALISATION_KEY)),
    fingerprint: { kind: 'convnet', sha256 },
    logits: (images) => model.predict(images),
    [Symbol.dispose]: () => model.dispose(),
  };
}

function parseNormalisation(path: string, json: string | undefined): Normalisation {
  const three = (value: unknown): value is [number, number, number] =>
    Array.isArray(value) && value.length === 3 && value.every(Number.isFinite);
  try {
    const { mean, std } = JSON.parse(json ?? '');
    if (three(mean) && three(std) && !std.includes(0)) return { mean, std };
  } catch {
    // Not JSON: falls through to the same error as JSON of another kind.
  }
  throw new SoftpackError('INVALID_FILE', 'the model does not say what pixels it expects', {
    field: `${path}: __metadata__.${NORMALISATION_KEY}`,
    expected: '{"mean": [r, g, b], "std": [r, g, b]}',
    found: json ?? 'nothing',
  });
}
