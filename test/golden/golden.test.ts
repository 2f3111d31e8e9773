import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { type CodecChoice, createLoader, openArchive, packLogits } from '#src/index.js';
import { temporaryDirectory } from '../temporary.js';

/**
 * Digests of codecs, codes and decoded streams, as the first release of each codec gave them on x86-64 (equal for scalar,
 * AVX2 and AVX-512). A change here means that archives of equal input are no longer equal: never update one in passing.
 */
const DIGESTS = new URL('./digests.json', import.meta.url);

const EPOCHS = 3;
const SAMPLES = 200;
const CLASSES = 23;

const CHOICES: Readonly<Record<string, CodecChoice>> = {
  'none, logits': { name: 'none' },
  'none, probabilities': { name: 'none', store: 'probabilities' },
  vqae: { dh: 20, dc: 5, k: 8 },
  'topk, probabilities': { name: 'topk', k: 3 },
  'topk, logits': { name: 'topk', k: 4, values: 'logits' },
  pca: { name: 'pca', k: 4 },
  rpca: { name: 'rpca', k: 3 },
  scalar: { name: 'scalar', levels: 4 },
  vq: { name: 'vq', dc: 6, k: 16 },
  mean: { name: 'mean' },
};

/** Logits of a linear congruential generator (Numerical Recipes), as a .npy file of version 1. */
async function writeLogits(path: string): Promise<string> {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const logits = Float32Array.from(
    { length: EPOCHS * SAMPLES * CLASSES },
    () => 8 * (next() + next() + next() - 1.5),
  );
  const shape = `(${EPOCHS}, ${SAMPLES}, ${CLASSES})`;
  const header = `{'descr': '<f4', 'fortran_order': False, 'shape': ${shape}, }`.padEnd(117);
  const prefix = Buffer.from('\x93NUMPY\x01\x00\x76\x00', 'latin1');
  const head = Buffer.concat([prefix, Buffer.from(`${header}\n`, 'latin1')]);
  await writeFile(path, Buffer.concat([head, Buffer.from(logits.buffer)]));
  return path;
}

const hash = (pieces: Iterable<ArrayBufferView>) => {
  const digest = createHash('sha256');
  for (const { buffer, byteOffset, byteLength } of pieces) {
    digest.update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  return digest.digest('hex').slice(0, 16);
};

it.each(Object.entries(CHOICES))('gives the bytes it always gave: %s', async (name, codec) => {
  const directory = await temporaryDirectory();
  const source = await writeLogits(directory.path('logits.npy'));
  const out = directory.path('archive');
  await packLogits({ source, out, codec, tau: 4, training: { steps: 30, seed: 3, threads: 1 } });

  await using archive = await openArchive(out);
  const { tensors, sampleTensors } = archive.codecParts;
  const found: Record<string, string> = {
    codec: hash([...tensors.values(), ...sampleTensors.values()].map(({ data }) => data)),
    codes: hash(await Promise.all([0, 1, 2].map((epoch) => archive.readRow(epoch)))),
  };
  for (const precision of ['exact', 'fast'] as const) {
    await using loader = createLoader({ archive, batchSize: 32, seed: 5, workers: 0, precision });
    const pieces: ArrayBufferView[] = [];
    for await (const { ys, sampleIds } of loader) pieces.push(ys.slice(), sampleIds.slice());
    found[precision] = hash(pieces);
  }
  const digests = JSON.parse(await readFile(DIGESTS, 'utf8'));
  expect(found).toEqual(digests[name]);
});
