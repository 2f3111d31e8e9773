// TensorFlow.js on the best backend present: native TensorFlow if it is installed, else wasm (one thread).
import { selectBackend, tensorflowStatus } from '#src/nn/backend/select.js';
import { local } from '../measure.mjs';
import { TAU } from '../settings.mjs';

const BATCHES = [256, 1024];
const ENCODE_BATCHES = [64, 16];

// TensorFlow prints its options on loading.
process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';

export async function loadTensorflow(threads) {
  // Its pool is created once, for the processors available then; wasm has one thread here.
  if (threads > 1) return { reason: 'TensorFlow.js: measured on one thread only' };
  try {
    const { tf, name } = await selectBackend();
    const status = (await tensorflowStatus()).find((backend) => backend.name === name);
    const native = status?.version === undefined ? '' : ` ${status.version}`;
    const version = `TensorFlow.js ${tf.version.tfjs} on ${name}${native}`;
    return { version, contenders: (...args) => tensorflowContenders(tf, name, ...args) };
  } catch (error) {
    return { reason: `TensorFlow.js: ${error.message}` };
  }
}

function tensorflowContenders(tf, backend, op, workload, { checked }) {
  const build = OPERATIONS[op];
  if (build === undefined) return { contenders: [], close: () => {} };
  const { constants, run, collect, batches, work } = build(tf, workload);
  let last;
  const call = (start, count) => {
    tf.dispose(last);
    // Measured until the tensor exists; it is not copied out.
    last = tf.tidy(() => run(start, count));
  };
  const contender = local({
    ...{ impl: `TensorFlow.js ${backend}`, side: 'rival', work, batches, rounds: 9 },
    ...{ pool: workload.pool, checked },
    call,
    collect,
  });
  // Its batch may be smaller than the checked labels.
  contender.output = async () => {
    call(0, checked);
    return collect(last);
  };
  return {
    contenders: [contender],
    close: () => tf.dispose([last, ...Object.values(constants)]),
  };
}

const OPERATIONS = {
  decode(tf, workload) {
    const { decode, constants } = decoder(tf, workload);
    return {
      ...{ constants, run: decode, batches: BATCHES, work: 'latent' },
      collect: (labels) => labels.dataSync(),
    };
  },

  decode_kl(tf, workload) {
    const { studentLogits, classes } = workload;
    const { decode, constants } = decoder(tf, workload);
    const run = (start, count) => {
      const labels = decode(start, count);
      const logits = tf.tensor2d(rows(studentLogits, start, count, classes), [count, classes]);
      const logQ = tf.logSoftmax(logits.div(TAU));
      const losses = labels.mul(labels.log().sub(logQ)).sum(1);
      return { losses, gradient: logQ.exp().sub(labels).div(TAU) };
    };
    return {
      ...{ constants, run, batches: BATCHES, work: 'latent' },
      collect: ({ losses, gradient }) => ({
        losses: losses.dataSync(),
        gradient: gradient.dataSync(),
      }),
    };
  },

  encode: encoder,
  'encode-low-entropy': (tf, { lowEntropy }) => encoder(tf, lowEntropy),

  project(tf, { labels, weights, setting: { dh }, classes }) {
    const projection = tf.tensor2d(weights.projection, [classes, dh]);
    return {
      ...{ constants: { projection }, batches: BATCHES, work: 'float32' },
      run: (start, count) =>
        tf.tensor2d(rows(labels, start, count, classes), [count, classes]).matMul(projection),
      collect: (latent) => latent.dataSync(),
    };
  },
};

function decoder(tf, { weights, indices, setting: { dh, dc, k, segments }, classes, eps }) {
  const constants = {
    codebook: tf.tensor2d(weights.codebook, [k, dc]),
    decoder: tf.tensor2d(weights.decoder, [dh, classes]),
    bias: tf.tensor1d(weights.bias),
  };
  const all = Int32Array.from(indices);
  const decode = (start, count) => {
    const codes = tf.tensor1d(rows(all, start, count, segments), 'int32');
    const latent = tf.gather(constants.codebook, codes).reshape([count, dh]);
    const values = latent.matMul(constants.decoder).add(constants.bias).maximum(eps);
    return values.div(values.sum(1, true));
  };
  return { decode, constants };
}

function encoder(tf, { labels, weights, setting: { dh, dc, k }, classes }) {
  const projection = tf.tensor2d(weights.projection, [classes, dh]);
  const codebook = tf.tensor2d(weights.codebook, [k, dc]);
  const halfSquares = tf.tidy(() => codebook.square().sum(1).div(2));
  const codewords = tf.tidy(() => codebook.transpose());
  codebook.dispose();
  return {
    constants: { projection, codewords, halfSquares },
    ...{ batches: ENCODE_BATCHES, work: 'float32' },
    run: (start, count) =>
      tf
        .tensor2d(rows(labels, start, count, classes), [count, classes])
        .matMul(projection)
        .reshape([-1, dc])
        .matMul(codewords)
        .sub(halfSquares)
        .argMax(1),
    collect: (found) => Uint16Array.from(found.dataSync()),
  };
}

function rows(array, start, count, width) {
  return array.subarray(start * width, (start + count) * width);
}
