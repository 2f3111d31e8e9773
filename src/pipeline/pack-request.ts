import { sha256 } from '../container/checksum.js';
import { canonicalJson, type JsonObject } from '../core/json.js';
import type { LabelSource } from '../labels/source.js';
import type { OpenFilter } from './label-filter.js';
import { DEFAULT_EPS, DEFAULT_TAU, type PackOptions } from './pack-options.js';
import { sourceFingerprint } from './source-fingerprint.js';

/** Everything that the archive's bytes depend on: a run continues another's work only if these are equal. */
export async function requestOf(
  source: LabelSource,
  options: Omit<PackOptions, 'filter'> & { readonly filter?: OpenFilter },
): Promise<JsonObject> {
  const { tau = DEFAULT_TAU, tauSchedule, prune, keep } = options;
  const fingerprint = await sourceFingerprint(source);
  const request = { ...codecRequest(options), source: fingerprint, tau, tauSchedule, prune, keep };
  return canonicalJson(request, 'pack') as JsonObject;
}

/** The part of a request that tells how the codec was chosen and trained. */
export function codecRequest(
  options: Pick<PackOptions, 'codec' | 'eps' | 'training' | 'trainingLabels'> & {
    readonly filter?: OpenFilter;
  },
): JsonObject {
  const { codec, eps = DEFAULT_EPS, trainingLabels } = options;
  const filter = options.filter && { ...options.filter, targets: sha256Of(options.filter.targets) };
  const { threads: _, ...training } = options.training ?? {};
  const groups =
    'groups' in codec && ArrayBuffer.isView(codec.groups) ? { groups: sha256Of(codec.groups) } : {};
  const named = { name: 'vqae', ...codec, ...groups };
  const request = { codec: named, eps, training, trainingLabels, filter };
  return canonicalJson(request, 'pack') as JsonObject;
}

function sha256Of({ buffer, byteOffset, byteLength }: ArrayBufferView): string {
  return sha256(new Uint8Array(buffer, byteOffset, byteLength));
}
