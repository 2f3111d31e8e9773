import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect } from 'vitest';
import { CODECS } from '#src/codecs/registry.js';
import { isSoftpackError } from '#src/errors.js';
import { memoryLabelSource } from '#src/labels/source.js';
import type { TotalSizeChoice } from '#src/pipeline/archive-size.js';
import { keptEpochs } from '#src/pipeline/kept-epochs.js';
import { packLogits } from '#src/pipeline/pack.js';
import { syntheticLogits } from '../codecs/labels.js';

/** Labels of some shape, and a size to ask for. */
export interface AskedSize {
  readonly classes: number;
  readonly samples: number;
  readonly epochs: number;
  readonly ratio: number;
  readonly inBytes: boolean;
  readonly keep: 'auto' | undefined;
  /** Logits are multiples of this. */
  readonly spread: number;
}

export function askedSizes(
  classes: readonly number[],
  samples: readonly number[],
): fc.Arbitrary<AskedSize> {
  return fc.record({
    classes: fc.constantFrom(...classes),
    samples: fc.constantFrom(...samples),
    epochs: fc.constantFrom(1, 2, 12),
    ratio: fc.double({ min: 1.2, max: 60, noNaN: true }),
    inBytes: fc.boolean(),
    keep: fc.constantFrom('auto' as const, undefined),
    spread: fc.constantFrom(0, 0.01, 1, 100),
  });
}

/** Bytes of all files of a folder. */
async function bytesIn(folder: string): Promise<number> {
  const names = await readdir(folder, { recursive: true });
  const found = await Promise.all(names.map((name) => stat(join(folder, name))));
  return found.reduce((sum, file) => sum + (file.isFile() ? file.size : 0), 0);
}

/** Expects the archive to be no larger than asked for, or a refusal that names a size which then is reached. */
export async function expectSize(
  { ratio, inBytes, keep: asked, spread, ...shape }: AskedSize,
  folder: () => string,
): Promise<void> {
  const { classes, samples, epochs } = shape;
  const logits = syntheticLogits(epochs * samples, classes).map((value) => spread * value);
  const source = memoryLabelSource(logits, shape);
  const full = 2 * classes * samples * epochs;
  let size = inBytes ? Math.max(1, Math.floor(full / ratio)) : ratio;
  const choice = (): TotalSizeChoice =>
    inBytes ? { name: 'transform', totalBytes: size } : { name: 'transform', totalRatio: size };
  // For more bytes more epochs would be stored: what is possible is said of those that were chosen.
  const keep = asked && keptEpochs(choice(), shape, full, CODECS).keep;
  // The size that labels of this shape take at least may be refused once more, for what these labels take.
  for (let refused = 0; ; refused++) {
    const out = folder();
    try {
      const codec = choice();
      const packed = await packLogits({ source, out, codec, keep, labels: 'logits', tau: 4 });
      const bytes = await bytesIn(out);
      expect(bytes).toBe(packed.bytes.total);
      expect(bytes).toBeLessThanOrEqual(inBytes ? size : full / size);
      return;
    } catch (error) {
      if (!isSoftpackError(error)) throw error;
      const field = inBytes ? 'codec.totalBytes' : 'ratio';
      expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field });
      expect(refused).toBeLessThan(2);
      const [, most] = /at (?:least|most) ([\d.]+)/.exec(String(error.expected)) ?? [];
      if (most === undefined) {
        // Labels of fewer bytes than the files of an archive have no ratio.
        expect(error.message).toContain('more labels');
        return;
      }
      if (inBytes) expect(Number(most)).toBeGreaterThan(size);
      else expect(Number(most)).toBeLessThan(size);
      size = Number(most);
    }
  }
}
