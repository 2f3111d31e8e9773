import { dirname } from 'node:path';
import type { Normalisation } from '../../augment/replay.js';
import { SoftpackError } from '../../errors.js';
import type { BackendName } from '../backend/name.js';
import { selectBackend } from '../backend/select.js';
import type { ConvNet } from '../convnet.js';
import { type NormStatistics, predict } from '../network.js';
import { loadConvNet } from '../weights.js';
import { NORMALISATION_KEY, readDescription, type TeacherDescription } from './description.js';
import { fileSha256 } from './fingerprint.js';
import { mismatch, settleShape } from './shape.js';
import type { Teacher } from './teacher.js';

/** A teacher from a file that `saveConvNet` wrote. */
export async function loadConvNetTeacher(
  path: string,
  backend: 'auto' | BackendName,
  given: TeacherDescription,
): Promise<Teacher> {
  await selectBackend({ backend });
  const { model, metadata } = await loadConvNet(path);
  try {
    const { inputSize, classes } = model;
    const normalisation = parseNormalisation(path, metadata.get(NORMALISATION_KEY));
    const facts = {
      input: [-1, inputSize, inputSize, 3],
      output: [-1, classes],
      layout: 'nhwc',
    } as const;
    const description = await readDescription(dirname(path), given);
    // The file's normalisation is part of the model: a description can add names but not change it.
    const own = { ...normalisation, channels: 'rgb', output: 'logits' } as const;
    for (const field of ['mean', 'std', 'channels', 'output'] as const) {
      const value = description[field];
      if (value === undefined || String(value) === String(own[field])) continue;
      throw mismatch(path, field, own[field], value);
    }
    const { size, classNames } = settleShape(path, facts, { ...description, ...own });
    return {
      classes,
      size,
      normalisation,
      ...(classNames === undefined ? {} : { classNames }),
      fingerprint: { kind: 'convnet', sha256: await fileSha256(path) },
      logits: (images) => predict(model, images),
      network: {
        taps: model.norms,
        stored: () => model.norms.map((name) => statisticsOf(model, name)),
        apply: (images, tap) => model.apply(images, { tap }),
      },
      [Symbol.dispose]: () => model.dispose(),
    };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

function statisticsOf(model: ConvNet, name: string): NormStatistics {
  const { mean, variance } = model.normStatistics(name);
  return {
    mean: Float32Array.from(mean.dataSync()),
    variance: Float32Array.from(variance.dataSync()),
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
