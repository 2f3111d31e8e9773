import { createHash } from 'node:crypto';
import type { JsonObject } from '../core/json.js';

/** Sources up to this many values are hashed whole (8 MiB). */
const WHOLE_VALUES = 2 ** 21;
/** Epochs, and samples per epoch, read of larger ones, evenly spaced, the first and the last included. */
const EPOCHS = 16;
const SAMPLES = 64;
const READ_VALUES = 2 ** 20;

/**
 * sha256 of a source's logits as float32, of large ones of evenly spaced labels: tells one source from another at the
 * cost of a thousand labels, whatever file the logits are in. It is no proof that a large source is unchanged.
 */
export async function labelsFingerprint(
  shape: { readonly epochs: number; readonly samples: number; readonly classes: number },
  read: (epoch: number, start: number, count: number) => Promise<Float32Array>,
): Promise<JsonObject> {
  const { epochs, samples, classes } = shape;
  const whole = epochs * samples * classes <= WHOLE_VALUES;
  const hash = createHash('sha256');
  for (const epoch of spaced(epochs, whole ? epochs : EPOCHS)) {
    for (const [start, count] of whole ? pieces(samples, classes) : singles(samples)) {
      const { buffer, byteOffset, byteLength } = await read(epoch, start, count);
      hash.update(new Uint8Array(buffer, byteOffset, byteLength));
    }
  }
  return { [whole ? 'sha256' : 'sampledSha256']: hash.digest('hex') };
}

function* pieces(samples: number, classes: number): Generator<readonly [number, number]> {
  const most = Math.max(1, Math.floor(READ_VALUES / classes));
  for (let start = 0; start < samples; start += most) {
    yield [start, Math.min(most, samples - start)];
  }
}

function* singles(samples: number): Generator<readonly [number, number]> {
  for (const sample of spaced(samples, SAMPLES)) yield [sample, 1];
}

function* spaced(total: number, count: number): Generator<number> {
  const taken = Math.min(total, count);
  for (let i = 0; i < taken; i++) {
    yield taken === 1 ? 0 : Math.floor((i * (total - 1)) / (taken - 1));
  }
}
