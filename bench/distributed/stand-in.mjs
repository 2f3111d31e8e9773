// A cheap teacher and images that cost next to nothing to decode: what is measured beside them is softpack's own.
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { RandomSequence } from '#src/core/random.js';
import { OnnxGraph } from '../onnx-graph.mjs';

/** Side of the teacher's images, pixels. */
const SIDE = 8;
/** Image files, which the list names again and again. */
const FILES = 16;

/** Facts that an ONNX file does not contain. */
export const DESCRIPTION = { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] };

/** Means of the colours, times a matrix: logits of views that differ. Returns the path of the ONNX file. */
export async function writeTeacher(folder, classes) {
  const random = new RandomSequence(1, 0, 0);
  const values = Float32Array.from({ length: 3 * classes }, () => 12 * (random.uniform() - 0.5));
  const graph = new OnnxGraph();
  const means = graph.add('Flatten', [graph.add('GlobalAveragePool', ['images'])]);
  const weights = graph.tensor('weights', [classes, 3], values);
  const bias = graph.tensor('bias', [classes], new Float32Array(classes));
  const output = graph.add('Gemm', [means, weights, bias], { transB: { integer: 1 } });
  const images = ['images', ['batch', 3, SIDE, SIDE]];
  const file = path.join(folder, 'teacher.onnx');
  await writeFile(file, graph.file('stand-in', images, [output, ['batch', classes]]));
  return file;
}

/** A list of so many images, each a line as long as ImageNet's, of a few files. Returns its path. */
export async function writeImages(folder, count) {
  const at = path.join(folder, 'images');
  await mkdir(at, { recursive: true });
  const random = new RandomSequence(2, 0, 0);
  const names = Array.from({ length: FILES }, (_, i) => `n${String(i).padStart(8, '0')}_10026.png`);
  for (const name of names) {
    const pixels = Uint8Array.from({ length: 3 * SIDE * SIDE }, () => 256 * random.uniform());
    const raw = { width: SIDE, height: SIDE, channels: 3 };
    await sharp(pixels, { raw }).png().toFile(path.join(at, name));
  }
  const list = path.join(at, 'list.txt');
  const lines = Array.from({ length: count }, (_, i) => `${names[i % FILES]}\n`);
  await writeFile(list, lines.join(''));
  return list;
}
