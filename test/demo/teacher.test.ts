import { stat } from 'node:fs/promises';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import type { EmojiImages } from '#apps/demo/emoji.js';
import { IMAGE_SIZE, TEACHER, teacherConfig } from '#apps/demo/recipe.js';
import {
  heldOutImages,
  loadDemoTeacher,
  TEACHER_FILE,
  trainingSamples,
} from '#apps/demo/teacher.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { loadConvNet } from '#src/nn/weights.js';

/** Images of the given classes; every pixel of image i of set s is 10 s + i. */
function images(codes: readonly string[]): EmojiImages {
  const size = 32;
  const sets = ['a', 'b', 'c', 'held out'];
  const stride = size * size * 3;
  const pixels = new Uint8Array(sets.length * codes.length * stride);
  for (let i = 0; i < sets.length * codes.length; i++) {
    const value = 10 * Math.floor(i / codes.length) + (i % codes.length);
    pixels.fill(value, i * stride, (i + 1) * stride);
  }
  const classes = codes.map((code) => ({ code, name: code, category: 'Objects' }));
  return { sets, classes, size, pixels, hash: '' };
}

describe('the committed teacher', () => {
  beforeAll(async () => {
    await selectBackend({ backend: 'wasm' });
  });

  it('is small, of the recipe, and says how it was made', async () => {
    expect((await stat(TEACHER_FILE)).size).toBeLessThan(4e6);
    const { model, metadata } = await loadConvNet(TEACHER_FILE);
    expect(model.config).toEqual(teacherConfig(metadata.get('classes')?.split(' ').length ?? 0));
    expect(model.config.classes).toBeGreaterThanOrEqual(400);
    expect(JSON.parse(metadata.get('recipe') ?? '')).toEqual(TEACHER);
    expect(metadata.get('command')).toBe('softpack demo --train-teacher');
    expect(Number(metadata.get('top1'))).toBeGreaterThan(0.4);
    model.dispose();
  });

  it('is taken for its own classes only', async () => {
    const { model, metadata } = await loadConvNet(TEACHER_FILE);
    model.dispose();
    const codes = metadata.get('classes')?.split(' ') ?? [];
    const before = tf.memory().numTensors;
    const own = await loadDemoTeacher(images(codes), TEACHER_FILE);
    own.dispose();
    for (const other of [codes.slice(1), [...codes].reverse()]) {
      await expect(loadDemoTeacher(images(other), TEACHER_FILE)).rejects.toMatchObject({
        code: 'INVALID_FILE',
      });
    }
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('the held-out set', () => {
  it('is the last one, whole, and no training sample comes from it', () => {
    const three = images(['x', 'y', 'z']);
    const samples = trainingSamples(three);
    expect(samples.count).toBe(9);
    for (let sample = 0; sample < 9; sample++) {
      expect(samples.pixels(sample)[0]).toBe(10 * Math.floor(sample / 3) + (sample % 3));
    }
    const { xs, classes } = heldOutImages(three);
    expect([...classes]).toEqual([0, 1, 2]);
    for (let i = 0; i < 3; i++) {
      const expected = ((30 + i) / 255 - 0.5) / 0.25;
      expect(xs[i * IMAGE_SIZE ** 2 * 3]).toBeCloseTo(expected, 5);
    }
  });
});
