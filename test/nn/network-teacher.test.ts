import { expect, test } from 'vitest';
import { networkTeacher } from '#src/nn/teachers/network-teacher.js';

/** A network of two-pixel images and three classes that gives `output`, at `batch` images at a time. */
function teacherOf(output: readonly number[], batch?: number) {
  return networkTeacher({
    path: 'net.onnx',
    kind: 'test',
    sha256: '0'.repeat(64),
    shape: {
      size: [1, 2],
      classes: 3,
      normalisation: { mean: [0, 0, 0], std: [1, 1, 1] },
      channels: 'rgb',
      layout: 'nhwc',
      output: 'logits',
      ...(batch === undefined ? {} : { batch }),
    },
    run: async () => Float32Array.from(output),
    dispose: () => undefined,
  });
}

test('masks of a teacher are logits', async () => {
  using teacher = teacherOf([1, Number.NEGATIVE_INFINITY, 5, 2, 0, -1e9]);
  const logits = await teacher.logits(new Float32Array(12));
  expect([...logits]).toEqual([1, Number.NEGATIVE_INFINITY, 5, 2, 0, -1e9]);
});

test.each([Number.NaN, Number.POSITIVE_INFINITY])(
  '%f is refused by image and class',
  async (value) => {
    using teacher = teacherOf([1, 2, 3, 4, value, 6]);
    await expect(teacher.logits(new Float32Array(12))).rejects.toMatchObject({
      code: 'NON_FINITE',
      field: 'net.onnx: output, image 1, class 1',
      found: value,
    });
  },
);

test('what a network makes of the images that fill up its last batch is nobody’s concern', async () => {
  using teacher = teacherOf([1, 2, 3, Number.NaN, Number.NaN, Number.NaN], 2);
  expect([...(await teacher.logits(new Float32Array(6)))]).toEqual([1, 2, 3]);
});
