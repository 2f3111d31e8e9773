// Prints, as JSON, the instruction set in use and a digest of the output bytes of many kernel calls. Run once for each
// SOFTPACK_ISA: the digests of two runs are equal if and only if all their outputs are.
import { createHash } from 'node:crypto';
import { loadKernels } from '#src/native/index.js';

const kernels = loadKernels({ backend: 'cpu' });
const digests = {};

let state = 1;
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}

const floats = (length) => Float32Array.from({ length }, () => 2 * random() - 1);

function record(name, out, run) {
  new Uint8Array(out.buffer).fill(0xaa);
  run(out);
  digests[name] = createHash('sha256').update(new Uint8Array(out.buffer)).digest('hex');
}

for (const [rows, inner, columns] of [
  [1, 1, 1],
  [7, 17, 49],
  [17, 7, 1001],
  [96, 257, 96],
  [130, 999, 101],
  [50, 600, 1017],
]) {
  const a = floats(rows * inner);
  const b = floats(inner * columns);
  for (const transposeA of [false, true]) {
    for (const transposeB of [false, true]) {
      const name = `project ${rows}x${inner}x${columns} ${transposeA} ${transposeB}`;
      const args = { a, b, rows, inner, columns, transposeA, transposeB };
      record(name, new Float32Array(rows * columns), (out) => kernels.project({ ...args, out }));
      record(`${name} accumulate`, new Float32Array(rows * columns), (out) => {
        out.fill(0.25);
        kernels.project({ ...args, out, accumulate: true });
      });
    }
  }
}

for (const [count, width, levels] of [
  [1, 1, 1],
  [7, 5, 17],
  [100, 5, 1024],
  [101, 15, 2048],
  [50, 100, 64],
  [9, 3, 999],
]) {
  const vectors = floats(count * width);
  // Copies of codewords make exact ties.
  const codebook = floats(levels * width);
  codebook.copyWithin((levels >> 1) * width, 0, (levels >> 2) * width);
  record(`nearest ${count} ${width} ${levels}`, new Uint16Array(count), (out) =>
    kernels.nearest({ vectors, codebook, out, width }),
  );
}

{
  const args = { labels: floats(70 * 101), classes: 101, latent: 60, width: 15, bits: 7 };
  const projection = floats(101 * 60);
  const codebook = floats(100 * 15);
  record('encode', new Uint8Array((70 * 4 * 7) / 8), (out) =>
    kernels.encode({ ...args, projection, codebook, out }),
  );
}

for (const classes of [1, 7, 16, 17, 999, 1001]) {
  const spec = { classes, stages: 11, levels: 16, width: 6, bits: 4, latent: 66, latentStep: 6 };
  const codebooks = floats(16 * 6);
  const basis = floats(66 * classes);
  const bias = floats(classes);
  const codes = Uint8Array.from({ length: (40 * 44) / 8 }, () => random() * 256);
  for (const head of [
    { kind: 'identity' },
    { kind: 'clamp', eps: 0.01 },
    { kind: 'softmax', tau: 0.3 },
  ]) {
    for (const method of ['latent', 'table']) {
      const decoder = kernels.createDecoder({
        ...spec,
        codebookStride: 0,
        codebooks,
        basis,
        bias,
        head,
        method,
      });
      const labels = { start: 3, count: 37 };
      for (const Output of [Float32Array, Uint16Array]) {
        const name = `decode ${classes} ${head.kind} ${method} ${Output.name}`;
        record(name, new Output(37 * classes), (out) => decoder.decode({ codes, labels, out }));
      }
    }
  }
}

console.log(JSON.stringify({ isa: kernels.isa, digests }));
