import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { CODECS_PAGE, numpyDecoder, withCodecDocs } from '#apps/docs/codec-docs.js';
import { CODECS } from '#src/codecs/registry.js';
import type { Tensor } from '#src/core/codec-parts.js';
import type { TensorDtype } from '#src/core/dtypes.js';
import { loadKernels } from '#src/kernels/load.js';

interface GoldenCase {
  readonly choice: object;
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly row: string;
  readonly tensors: Readonly<
    Record<string, { dtype: TensorDtype; shape: readonly number[]; data: string }>
  >;
  readonly labels: readonly number[];
}

/** Made by golden/make-numpy.mjs, with the decoder of docs/codecs.md. */
const golden: { decoder: string; classes: number; count: number; cases: readonly GoldenCase[] } =
  JSON.parse(readFileSync(new URL('golden/numpy.json', import.meta.url), 'utf8'));

test('docs/codecs.md says what the descriptors say: else run node dist/apps/docs/codec-docs.js', () => {
  const page = readFileSync(CODECS_PAGE, 'utf8');
  expect(page).toBe(withCodecDocs(page));
  for (const { name } of CODECS.descriptors) expect(page).toContain(`| \`${name}\``);
});

describe("NumPy's labels, by the decoder in the documentation", () => {
  test('are those of its present text: else run test/codecs/golden/make-numpy.mjs', () => {
    expect(createHash('sha256').update(numpyDecoder()).digest('hex')).toBe(golden.decoder);
    const names = new Set(golden.cases.map(({ name }) => name));
    const coded = CODECS.descriptors.filter(({ docs }) => docs.numpy !== undefined);
    expect([...names].sort()).toEqual(coded.map(({ name }) => name).sort());
  });

  test.each(golden.cases)('$choice: softpack decodes the same', (sample) => {
    const { name, config, row, tensors, labels } = sample;
    const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));
    const decoded = new Map<string, Tensor>(
      Object.entries(tensors).map(([key, tensor]) => [
        key,
        { ...tensor, data: bytes(tensor.data) },
      ]),
    );
    const parts = { name, config, tensors: decoded, sampleTensors: new Map() };
    using codec = CODECS.load(parts, loadKernels());
    const all = { start: 0, count: golden.count };
    const out = new Float32Array(golden.count * golden.classes);
    codec.decode({ row: bytes(row), labels: all, context: { epoch: 0, samples: all }, out });
    for (const [i, value] of labels.entries()) expect(Math.abs(out[i] - value)).toBeLessThan(2e-6);
  });
});
