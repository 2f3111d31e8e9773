import { createHash } from 'node:crypto';
import type { JsonObject } from '../core/json.js';
import type { LabelSource } from '../labels/source.js';

/** Labels read to identify a source that does not identify itself. */
const SAMPLED_LABELS = 16;

/** Identifies a source: a resumed run must have the source that the first one had. */
export async function sourceFingerprint(source: LabelSource): Promise<JsonObject> {
  const { epochs, samples, classes } = source;
  const own = source.fingerprint?.() ?? sampledLabels(source);
  return { epochs, samples, classes, ...(await own) };
}

async function sampledLabels(source: LabelSource): Promise<JsonObject> {
  const total = source.epochs * source.samples;
  const count = Math.min(total, SAMPLED_LABELS);
  const hash = createHash('sha256');
  for (let i = 0; i < count; i++) {
    const label = Math.floor((i * (total - 1)) / Math.max(1, count - 1));
    const logits = await source.read(Math.floor(label / source.samples), label % source.samples, 1);
    hash.update(new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength));
  }
  return { sampledSha256: hash.digest('hex') };
}
