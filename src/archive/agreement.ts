import { MAX_SHARD_BYTES } from '../container/shard-file.js';
import type { FieldChecker } from '../core/check.js';
import type { CodecParts } from '../core/codec-parts.js';
import type { JsonObject } from '../core/json.js';

/** Rules among several fields of an archive, for readers and writers alike. */

/** Most classes, samples and epochs: their numbers are 32-bit. */
export const MAX_COUNT = 2 ** 32;

/** A row is read into memory as a whole: the rows of one epoch must fit into a shard. */
export function requireRows(
  check: FieldChecker,
  { columns }: { readonly columns: readonly { readonly rowBytes: number }[] },
): void {
  const rowBytes = columns.reduce((sum, column) => sum + column.rowBytes, 0);
  const expected = `at most ${MAX_SHARD_BYTES} bytes per epoch`;
  check.that(rowBytes <= MAX_SHARD_BYTES, rowBytes, 'columns', expected);
}

/** A codec whose config names classes or a temperature must name those of the archive. */
export function requireAgreement(
  check: FieldChecker,
  identity: {
    readonly classes: number;
    readonly tau: number;
    readonly codec: { readonly config: JsonObject };
  },
): void {
  const { config } = identity.codec;
  for (const name of ['classes', 'tau'] as const) {
    const found = config[name];
    const own = identity[name];
    const agrees = found === undefined || found === own;
    check.that(agrees, found, `codec.config.${name}`, `${own}, the ${name} of the archive`);
  }
}

/** Side data have one row per sample. */
export function requireSampleRows(
  check: FieldChecker,
  tensors: CodecParts['sampleTensors'],
  samples: number,
): void {
  for (const [name, { shape }] of tensors) {
    const expected = `[${samples}, ...], one row per sample`;
    check.that(shape[0] === samples, `[${shape}]`, `tensor ${name}`, expected);
  }
}
