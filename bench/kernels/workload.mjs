// Inputs of one setting: labels, student logits, a codec for them and its codes.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { loadCodec } from '#src/codecs/registry.js';
import { VqaeTrainer } from '#src/codecs/vqae/trainer.js';
import { readTensorFile, writeTensorFile } from '#src/container/tensor-file.js';
import { softLabels, teacherLogits } from './labels.mjs';
import { CLASSES, EPS, LOW_TAU, TAU } from './settings.mjs';

const SEED = 1;
const STUDENT_SEQUENCE = 1000;

/** Data that all settings share: `pool` labels, used in turn, and those that codecs are made from. */
export function makeLabels(kernels, { pool, trainingLabels }) {
  const logits = (sequence, count) =>
    teacherLogits(kernels, { classes: CLASSES, count, seed: SEED, sequence });
  const views = logits(0, pool);
  return {
    pool,
    labels: softLabels(views, CLASSES, TAU),
    lowLabels: softLabels(views, CLASSES, LOW_TAU),
    /** A student's logits, unrelated to the labels, as at the start of training. */
    studentLogits: logits(STUDENT_SEQUENCE, pool),
    /** Views that are not in the pool. */
    trainingLogits: logits(1, trainingLabels),
    /** [pool, classes]: output of every contender's decoding. Filled, so that all pages exist. */
    out: new Float32Array(pool * CLASSES).fill(Number.NaN),
  };
}

/** One setting's codec and codes; with a second codec, of the low-entropy labels, if an operation needs it. */
export async function makeWorkload(kernels, shared, setting, { steps, operations }) {
  const { pool } = shared;
  const of = async (labels, tau, trainingSteps) => {
    const training = softLabels(shared.trainingLogits, CLASSES, tau);
    const weights = await codecWeights(kernels, training, setting, tau, trainingSteps);
    return { setting, pool, classes: CLASSES, eps: EPS, tau, labels, weights };
  };
  const ordinary = await of(shared.labels, TAU, steps);
  // Only its encoder is timed: codes of the closed form are spread widely enough.
  const lowEntropy = operations(setting).includes('encode-low-entropy')
    ? await of(shared.lowLabels, LOW_TAU, 0)
    : undefined;
  const latent = new Float32Array(pool * setting.dh);
  const { projection, codebook } = ordinary.weights;
  kernels.project({
    ...{ a: ordinary.labels, b: projection, out: latent },
    ...{ rows: pool, inner: CLASSES, columns: setting.dh },
  });
  const indices = new Uint16Array(pool * setting.segments);
  kernels.nearest({ vectors: latent, codebook, out: indices, width: setting.dc });
  const codes = new Uint8Array(Math.ceil((indices.length * setting.bits) / 8));
  kernels.pack({ indices, bits: setting.bits, out: codes });
  const { studentLogits } = shared;
  return { ...ordinary, lowEntropy, latent, indices, codes, studentLogits, order: shuffled(pool) };
}

/** A codec trained on these labels, or in closed form for no steps; cached by a key of everything it depends on. */
async function codecWeights(kernels, labels, { dh, dc, k }, tau, steps) {
  const config = { classes: CLASSES, dh, dc, k, tau, eps: EPS };
  const key = createHash('sha256')
    .update(labels)
    .update(JSON.stringify({ config, steps, seed: SEED }))
    .digest('hex')
    .slice(0, 16);
  const file = join(cacheFolder(), `vqae-${key}.safetensors`);
  if (!existsSync(file)) {
    const trainer = new VqaeTrainer(config, labels, kernels, { steps, seed: SEED });
    const { codec } = await trainer.train();
    mkdirSync(cacheFolder(), { recursive: true });
    const { tensors } = codec.parts({ encoder: true });
    await writeTensorFile(file, tensors, { config: JSON.stringify(config) });
  }
  const { tensors } = await readTensorFile(file);
  return loadCodec({ name: 'vqae', config, tensors, sampleTensors: new Map() }, kernels).weights;
}

/** `SOFTPACK_BENCH_DIR`, or `softpack/bench` in the user's cache folder (XDG). */
export function cacheFolder() {
  const { SOFTPACK_BENCH_DIR: own, XDG_CACHE_HOME: cache } = process.env;
  return own || join(cache || join(homedir(), '.cache'), 'softpack', 'bench');
}

/** 0 to count - 1 in an order without a pattern: steps by a prime, mixed. */
function shuffled(count) {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  let state = SEED;
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
