// softpack's own contenders, the only place that knows its operations' arguments.
import { float16ToFloat32 } from '#src/core/half.js';
import { local } from './measure.mjs';
import { TAU } from './settings.mjs';

const DECODE_BATCHES = [4096, 16384, 1024];
/** No limit for tables, as rivals have none either. */
const MEMORY_CAP = 2 ** 30;
const ENCODE_BATCHES = [1024, 256, 4096];
/** Labels per call of the reference, which takes milliseconds for each. */
const REFERENCE_BATCHES = [4];
const REFERENCE_ROUNDS = 3;

/** Output types of `decode`, and their conversion to float32. */
const OUTPUTS = {
  float32: { array: Float32Array, floats: (values) => values },
  float16: { array: Uint16Array, floats: halves },
  bfloat16: { array: Uint16Array, floats: brains },
};

/**
 * Contenders of `kernels` for an operation, and `close()`, which frees their resources. `context`: threads, labels
 * `checked`, the array `out` to decode to, the processor's `extensions`, `skip(reason)`.
 */
export function softpackContenders(kernels, op, workload, context) {
  const isReference = kernels.name === 'reference';
  const held = [];
  const own = {
    ...context,
    kernels,
    isReference,
    keep(resource) {
      held.push(resource);
      return resource;
    },
    contender: (parts) =>
      local({
        impl: isReference ? 'TypeScript reference' : 'softpack',
        side: isReference ? 'reference' : 'softpack',
        work: 'float32',
        ...{ pool: workload.pool, checked: context.checked },
        ...parts,
        ...(isReference && { rounds: REFERENCE_ROUNDS }),
        ...(isReference && op !== 'decode-one' && { batches: REFERENCE_BATCHES }),
      }),
  };
  const contenders = OPERATIONS[op](workload, own);
  return { contenders, close: () => held.map((resource) => resource.dispose()) };
}

const OPERATIONS = {
  decode(workload, own) {
    const typed = variants(own).flatMap((variant) =>
      Object.keys(OUTPUTS).map((out) => ({ ...variant, out })),
    );
    const consecutive = (start, count) => ({ start, count });
    const list = typed.filter(({ out }) => !own.isReference || out === 'float32');
    const chosen = decoders(workload, own, list, consecutive, DECODE_BATCHES);
    // Methods are compared with one output type; the precisions that users choose from are measured with all.
    const known = new Set(chosen.map(({ work }) => work));
    const others = forced(own).filter(({ spec }) => !known.has(spec.method));
    return [...chosen, ...decoders(workload, own, others, consecutive, DECODE_BATCHES)];
  },

  'decode-gather'(workload, own) {
    const listed = (start, count) => workload.order.subarray(start, start + count);
    return decoders(workload, own, variants(own), listed, DECODE_BATCHES);
  },

  'decode-one'(workload, own) {
    // Warm caches: the same few labels in turn.
    const few = { ...workload, pool: own.checked };
    return decoders(few, own, variants(own), (start) => ({ start, count: 1 }), [1]);
  },

  decode_kl(workload, own) {
    const { pool, classes, codes, studentLogits: logits } = workload;
    const { out: gradient, threads } = own;
    const losses = new Float32Array(pool);
    const args = (start, count) => ({
      codes,
      labels: { start, count },
      logits: rows(logits, start, count, classes),
      tau: TAU,
      losses: rows(losses, start, count, 1),
      gradient: rows(gradient, start, count, classes),
      threads,
    });
    return each(variants(own), own, ({ name, spec }) => {
      const decoder = own.keep(own.kernels.createDecoder({ ...decoderSpec(workload), ...spec }));
      return own.contender({
        ...{ impl: name, work: decoder.method, batches: DECODE_BATCHES },
        call: (start, count) => decoder.decodeKl(args(start, count)),
        collect: (count) => ({
          gradient: gradient.slice(0, count * classes),
          losses: losses.slice(0, count),
        }),
      });
    });
  },

  encode: (workload, own) => [encoder(workload, own)],
  'encode-low-entropy': ({ lowEntropy }, own) => [encoder(lowEntropy, own)],

  nearest({ latent, weights: { codebook }, setting, pool }, own) {
    const { dh, dc: width, segments } = setting;
    const { kernels, threads } = own;
    const out = new Uint16Array(pool * segments);
    const call = (start, count) =>
      kernels.nearest({
        vectors: rows(latent, start, count, dh),
        codebook,
        out: rows(out, start, count, segments),
        ...{ width, threads },
      });
    const collect = (count) => out.slice(0, count * segments);
    return [own.contender({ batches: ENCODE_BATCHES, call, collect })];
  },

  project({ labels, weights, setting: { dh }, classes, pool }, own) {
    const { kernels, threads } = own;
    const out = new Float32Array(pool * dh).fill(Number.NaN);
    const call = (start, count) =>
      kernels.project({
        a: rows(labels, start, count, classes),
        b: weights.projection,
        out: rows(out, start, count, dh),
        ...{ rows: count, inner: classes, columns: dh, threads },
      });
    const collect = (count) => out.slice(0, count * dh);
    return [own.contender({ batches: ENCODE_BATCHES, call, collect })];
  },
};

/** The precisions that a user chooses from. */
function variants({ isReference }) {
  if (isReference) return [{ name: 'TypeScript reference', spec: {} }];
  return ['exact', 'fast', 'fastest'].map((precision) => ({
    name: `softpack ${precision}`,
    spec: { precision, memoryCap: MEMORY_CAP },
  }));
}

/** Methods that `fastest` may choose, or that only a user can. */
function forced({ isReference, extensions }) {
  if (isReference) return [];
  const unit = extensions.some((name) => name === 'avx512_bf16' || name === 'amx_bf16');
  const methods = ['latent', 'table', 'fixed', ...(unit ? ['bfloat', 'split'] : [])];
  return methods.map((method) => ({
    ...{ name: `softpack ${method}`, spec: { method, memoryCap: MEMORY_CAP }, out: 'float32' },
  }));
}

function decoders(workload, own, list, labelsOf, batches) {
  const { codes, classes, pool } = workload;
  const { kernels, threads } = own;
  return each(list, own, ({ name, spec, out: outType = 'float32' }) => {
    const decoder = own.keep(kernels.createDecoder({ ...decoderSpec(workload), ...spec }));
    const { array, floats } = OUTPUTS[outType];
    const all = new array(own.out.buffer, 0, pool * classes);
    return own.contender({
      impl: outType === 'float32' ? name : `${name}, ${outType} out`,
      ...{ out: outType, work: decoder.method, batches, pool },
      call: (start, count) =>
        decoder.decode({
          codes,
          labels: labelsOf(start, count),
          out: rows(all, start, count, classes),
          ...(outType !== 'float32' && { outType }),
          threads,
        }),
      collect: (count) => floats(all.subarray(0, count * classes)),
    });
  });
}

function decoderSpec({ setting: { dh, dc, k, segments, bits }, weights, classes, eps }) {
  return {
    ...{ classes, latent: dh, stages: segments, levels: k, width: dc, bits },
    codebookStride: 0,
    latentStep: dc,
    codebooks: weights.codebook,
    basis: weights.decoder,
    bias: weights.bias,
    head: { kind: 'clamp', eps },
  };
}

function encoder({ labels, weights, setting, classes, pool }, own) {
  const { dh: latent, dc: width, segments, bits } = setting;
  const { kernels, isReference, threads } = own;
  const { projection, codebook } = weights;
  const made = own.keep(
    kernels.createEncoder({ classes, projection, latent, codebook, width, bits }),
  );
  // Codes of a call start on a whole byte: `slot` bytes for every `step` labels.
  const step = isReference ? REFERENCE_BATCHES[0] : 8;
  const slot = Math.ceil((step * segments * bits) / 8);
  const out = new Uint8Array((pool / step) * slot);
  const call = (start, count) =>
    made.encode({
      labels: rows(labels, start, count, classes),
      out: out.subarray((start / step) * slot, ((start + count) / step) * slot),
      threads,
    });
  const collect = (count) => {
    const indices = new Uint16Array(count * segments);
    for (let at = 0; at < count; at += step) {
      const packed = out.subarray((at / step) * slot, (at / step + 1) * slot);
      kernels.unpack({ packed, bits, out: rows(indices, at, step, segments) });
    }
    return indices;
  };
  return own.contender({ batches: ENCODE_BATCHES, call, collect });
}

/** One contender per entry; one that cannot be made is reported and left out. */
function each(list, { skip }, make) {
  return list.flatMap((entry) => {
    try {
      return [make(entry)];
    } catch (error) {
      skip(`${entry.name}: ${error.message}`);
      return [];
    }
  });
}

function rows(array, start, count, width) {
  return array.subarray(start * width, (start + count) * width);
}

function halves(values) {
  const out = new Float32Array(values.length);
  float16ToFloat32(values, out);
  return out;
}

/** bfloat16 is the upper half of a float32. */
function brains(values) {
  return new Float32Array(Uint32Array.from(values, (value) => value << 16).buffer);
}
