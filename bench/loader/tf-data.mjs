// The rival from TensorFlow.js: `tf.data.generator` over sharp, labels in float16 in memory. Prints one JSON line.
// Usage: tf-data.mjs <folder> <work> <samples> <classes> <batch> <size> <seconds>
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import sharp from 'sharp';
import { selectBackend } from 'softpack/nn';
import { float16ToFloat32 } from '../../dist/core/half.js';

const [folder, work, ...numbers] = process.argv.slice(2);
const [samples, classes, batch, size, seconds] = numbers.map(Number);
const { name } = await selectBackend();
const read = async (file, Type) => {
  const { buffer, byteOffset, length } = await readFile(join(work, file));
  return new Type(buffer.slice(byteOffset, byteOffset + length));
};
const labels = await read('labels.f16', Uint16Array);
const coords = await read('coords.f32', Float32Array);
const flips = await read('flip.u8', Uint8Array);
const names = (await readdir(join(folder, 'class'))).sort();

async function* examples() {
  for (let i = 0; i < samples; i++) {
    const sample = (i * 911) % samples;
    const image = sharp(join(folder, 'class', names[sample]));
    const { width, height } = await image.metadata();
    const [top, left, h, w] = coords.subarray(4 * sample, 4 * sample + 4);
    const region = {
      ...{ top: Math.round(top * height), left: Math.round(left * width) },
      ...{ height: Math.max(1, Math.round(h * height)), width: Math.max(1, Math.round(w * width)) },
    };
    const view = image.extract(region).resize(size, size, { fit: 'fill' });
    const pixels = await (flips[sample] ? view.flop() : view).raw().toBuffer();
    const logits = new Float32Array(classes);
    float16ToFloat32(labels.subarray(sample * classes, (sample + 1) * classes), logits);
    yield tf.tidy(() => ({
      xs: tf.tensor3d(pixels, [size, size, 3]).div(127.5).sub(1),
      ys: tf.tensor1d(logits).div(20).softmax(),
    }));
  }
}

const dataset = tf.data.generator(examples).batch(batch).prefetch(2);
let [done, start, cpu] = [0, 0, undefined];
while (start === 0 || performance.now() - start < 1000 * seconds) {
  const iterator = await dataset.iterator();
  for (;;) {
    const { value, done: over } = await iterator.next();
    if (over) break;
    if (start === 0) [start, cpu] = [performance.now(), process.cpuUsage()];
    else done += value.xs.shape[0];
    tf.dispose(value);
    if (performance.now() - start >= 1000 * seconds) break;
  }
}
const imagesPerSecond = (1000 * done) / (performance.now() - start);
const { user, system } = process.cpuUsage(cpu);
const imagesPerCpuSecond = (1e6 * done) / (user + system);
console.log(JSON.stringify({ backend: name, imagesPerSecond, imagesPerCpuSecond }));
process.exit(0);
