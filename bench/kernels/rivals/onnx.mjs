// onnxruntime: each operation as its fastest graph. Constants are packed once, outputs preallocated.
import { local } from '../measure.mjs';
import { TAU } from '../settings.mjs';
import { onnxModel } from './onnx-model.mjs';

const DECODE_BATCHES = [1024, 256, 4096];
/** Distances of a batch are written out, 0.65 MB per label at (5, 1024). */
const ENCODE_BATCHES = [64, 16, 256];

export async function loadOnnx() {
  try {
    const runtime = await import('onnxruntime-node');
    const version = `onnxruntime-node ${runtime.env.versions.node}`;
    return { version, contenders: (...args) => onnxContenders(runtime, ...args) };
  } catch (error) {
    return { reason: `onnxruntime-node: ${String(error.message).split('\n')[0]}` };
  }
}

async function onnxContenders(runtime, op, workload, { threads, checked, out }) {
  const build = GRAPHS[op];
  if (build === undefined) return { contenders: [], close: () => {} };
  const { graph, feeds, results, batches, work, collect } = build(workload, out);
  const session = await runtime.InferenceSession.create(onnxModel(graph), {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
  });
  const tensors = (parts) =>
    Object.fromEntries(
      Object.entries(parts).map(([name, [type, data, dims]]) => [
        name,
        new runtime.Tensor(type, data, dims),
      ]),
    );
  const call = async (start, count) => {
    await session.run(tensors(feeds(start, count)), tensors(results(start, count)));
  };
  const contender = local({
    ...{ impl: 'onnxruntime', side: 'rival', work, batches, pool: workload.pool, checked },
    call,
    collect,
  });
  return { contenders: [contender], close: () => session.release() };
}

const GRAPHS = {
  decode: (workload, out) => decodeGraph(workload, out, DECODE_BATCHES),
  'decode-one': (workload, out) => decodeGraph(workload, out, [1]),

  'decode-gather'(workload, out) {
    const { pool, order, setting } = workload;
    const plain = decodeGraph(workload, out, DECODE_BATCHES);
    const list = Int32Array.from(order);
    const { nodes, constants } = plain.graph;
    const all = { dtype: 'int32', dims: [pool, setting.segments], data: indicesOf(workload) };
    return {
      ...plain,
      graph: {
        ...plain.graph,
        nodes: [{ op: 'Gather', inputs: ['all', 'list'], output: 'indices' }, ...nodes],
        constants: { ...constants, all },
        inputs: { list: { dtype: 'int32', dims: ['n'] } },
      },
      feeds: (start, count) => ({ list: ['int32', list.subarray(start, start + count), [count]] }),
    };
  },

  decode_kl(workload, out) {
    const { studentLogits, classes, pool } = workload;
    const plain = decodeGraph(workload, out, DECODE_BATCHES);
    const losses = new Float32Array(pool);
    const { graph } = plain;
    const oneOverTau = scalar(1 / TAU);
    const nodes = [
      ...graph.nodes,
      { op: 'Div', inputs: ['logits', 'tau'], output: 'z' },
      { op: 'LogSoftmax', inputs: ['z'], output: 'logQ', attributes: { axis: 1n } },
      { op: 'Log', inputs: ['labels'], output: 'logY' },
      { op: 'Sub', inputs: ['logY', 'logQ'], output: 'difference' },
      { op: 'Mul', inputs: ['labels', 'difference'], output: 'terms' },
      {
        op: 'ReduceSum',
        inputs: ['terms', 'axes'],
        output: 'losses',
        attributes: { keepdims: 0n },
      },
      { op: 'Softmax', inputs: ['z'], output: 'q', attributes: { axis: 1n } },
      { op: 'Sub', inputs: ['q', 'labels'], output: 'excess' },
      { op: 'Mul', inputs: ['excess', 'oneOverTau'], output: 'gradient' },
    ];
    return {
      ...plain,
      graph: {
        nodes,
        constants: { ...graph.constants, tau: scalar(TAU), oneOverTau },
        inputs: { ...graph.inputs, logits: { dtype: 'float32', dims: ['n', classes] } },
        outputs: {
          gradient: { dtype: 'float32', dims: ['n', classes] },
          losses: { dtype: 'float32', dims: ['n'] },
        },
      },
      feeds: (start, count) => ({
        ...plain.feeds(start, count),
        logits: ['float32', rows(studentLogits, start, count, classes), [count, classes]],
      }),
      results: (start, count) => ({
        gradient: ['float32', rows(out, start, count, classes), [count, classes]],
        losses: ['float32', losses.subarray(start, start + count), [count]],
      }),
      collect: (count) => ({
        gradient: out.slice(0, count * classes),
        losses: losses.slice(0, count),
      }),
    };
  },

  encode: encodeGraph,
  'encode-low-entropy': ({ lowEntropy }) => encodeGraph(lowEntropy),

  nearest({ latent, weights, setting: { dh, dc, k, segments }, pool }) {
    const found = new BigInt64Array(pool * segments);
    return {
      work: 'float32',
      batches: ENCODE_BATCHES,
      graph: {
        nodes: nearestNodes('vectors'),
        constants: codebookConstants(weights.codebook, dc, k),
        inputs: { vectors: { dtype: 'float32', dims: ['n', dc] } },
        outputs: { found: { dtype: 'int64', dims: ['n'] } },
      },
      feeds: (start, count) => ({
        vectors: ['float32', rows(latent, start, count, dh), [count * segments, dc]],
      }),
      ...indexResults(found, segments),
    };
  },

  project({ labels, weights, setting: { dh }, classes, pool }, out) {
    const latent = out.length >= pool * dh ? out : new Float32Array(pool * dh);
    return {
      work: 'float32',
      batches: DECODE_BATCHES,
      graph: {
        nodes: [{ op: 'MatMul', inputs: ['labels', 'projection'], output: 'latent' }],
        constants: {
          projection: { dtype: 'float32', dims: [classes, dh], data: weights.projection },
        },
        inputs: { labels: { dtype: 'float32', dims: ['n', classes] } },
        outputs: { latent: { dtype: 'float32', dims: ['n', dh] } },
      },
      feeds: (start, count) => ({
        labels: ['float32', rows(labels, start, count, classes), [count, classes]],
      }),
      results: (start, count) => ({
        latent: ['float32', rows(latent, start, count, dh), [count, dh]],
      }),
      collect: (count) => latent.slice(0, count * dh),
    };
  },
};

/** Indices come unpacked, which costs the rival nothing. */
function decodeGraph(workload, out, batches) {
  const { weights, setting, classes, eps } = workload;
  const { dh, dc, k, segments } = setting;
  const all = indicesOf(workload);
  return {
    work: 'latent',
    batches,
    graph: {
      nodes: [
        { op: 'Gather', inputs: ['codebook', 'indices'], output: 'segments' },
        { op: 'Reshape', inputs: ['segments', 'latentShape'], output: 'latent' },
        { op: 'Gemm', inputs: ['latent', 'decoder', 'bias'], output: 'values' },
        { op: 'Max', inputs: ['values', 'eps'], output: 'clamped' },
        {
          op: 'ReduceSum',
          inputs: ['clamped', 'axes'],
          output: 'sums',
          attributes: { keepdims: 1n },
        },
        { op: 'Div', inputs: ['clamped', 'sums'], output: 'labels' },
      ],
      constants: {
        codebook: { dtype: 'float32', dims: [k, dc], data: weights.codebook },
        decoder: { dtype: 'float32', dims: [dh, classes], data: weights.decoder },
        bias: { dtype: 'float32', dims: [classes], data: weights.bias },
        latentShape: { dtype: 'int64', dims: [2], data: BigInt64Array.of(-1n, BigInt(dh)) },
        eps: scalar(eps),
        axes: { dtype: 'int64', dims: [1], data: BigInt64Array.of(1n) },
      },
      inputs: { indices: { dtype: 'int32', dims: ['n', segments] } },
      outputs: { labels: { dtype: 'float32', dims: ['n', classes] } },
    },
    feeds: (start, count) => ({
      indices: ['int32', rows(all, start, count, segments), [count, segments]],
    }),
    results: (start, count) => ({
      labels: ['float32', rows(out, start, count, classes), [count, classes]],
    }),
    collect: (count) => out.subarray(0, count * classes),
  };
}

function encodeGraph({ labels, weights, setting: { dh, dc, k, segments }, classes, pool }) {
  const found = new BigInt64Array(pool * segments);
  return {
    work: 'float32',
    batches: ENCODE_BATCHES,
    graph: {
      nodes: [
        { op: 'MatMul', inputs: ['labels', 'projection'], output: 'latent' },
        { op: 'Reshape', inputs: ['latent', 'segmentShape'], output: 'segments' },
        ...nearestNodes('segments'),
      ],
      constants: {
        projection: { dtype: 'float32', dims: [classes, dh], data: weights.projection },
        segmentShape: { dtype: 'int64', dims: [2], data: BigInt64Array.of(-1n, BigInt(dc)) },
        ...codebookConstants(weights.codebook, dc, k),
      },
      inputs: { labels: { dtype: 'float32', dims: ['n', classes] } },
      outputs: { found: { dtype: 'int64', dims: ['s'] } },
    },
    feeds: (start, count) => ({
      labels: ['float32', rows(labels, start, count, classes), [count, classes]],
    }),
    ...indexResults(found, segments),
  };
}

/** ||mu||^2 / 2 - h . mu in one product, then the least. */
function nearestNodes(vectors) {
  return [
    {
      op: 'Gemm',
      inputs: [vectors, 'codewords', 'halfSquares'],
      output: 'scores',
      attributes: { alpha: -1 },
    },
    { op: 'ArgMin', inputs: ['scores'], output: 'found', attributes: { axis: 1n, keepdims: 0n } },
  ];
}

function codebookConstants(codebook, dc, k) {
  const transposed = new Float32Array(dc * k);
  const halfSquares = new Float32Array(k);
  for (let code = 0; code < k; code++) {
    let sum = 0;
    for (let i = 0; i < dc; i++) {
      transposed[i * k + code] = codebook[code * dc + i];
      sum += codebook[code * dc + i] ** 2;
    }
    halfSquares[code] = sum / 2;
  }
  return {
    codewords: { dtype: 'float32', dims: [dc, k], data: transposed },
    halfSquares: { dtype: 'float32', dims: [k], data: halfSquares },
  };
}

function indexResults(found, segments) {
  return {
    results: (start, count) => ({
      found: ['int64', rows(found, start, count, segments), [count * segments]],
    }),
    collect: (count) => Uint16Array.from(found.subarray(0, count * segments), Number),
  };
}

function rows(array, start, count, width) {
  return array.subarray(start * width, (start + count) * width);
}

function indicesOf({ indices }) {
  return Int32Array.from(indices);
}

function scalar(value) {
  return { dtype: 'float32', dims: [1], data: Float32Array.of(value) };
}
