// Prints, as JSON, the instruction set in use and a digest of the output bytes of many kernel calls. Run once for each
// SOFTPACK_ISA: the digests of two runs are equal if and only if all their outputs are.
import { createHash } from 'node:crypto';
import { loadKernels } from '#src/kernels/load.js';
import { RansTables } from '#src/kernels/rans.js';

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

// Vectors in few directions, of which most codewords are out of reach; some are not finite, or near ties.
const inFewDirections = (count, width) => {
  const directions = floats(3 * width);
  const out = new Float32Array(count * width);
  for (let i = 0; i < count; i++) {
    const along = [0, 1, 2].map((r) => (2 * random() - 1) / (1 + r * r));
    for (let d = 0; d < width; d++) {
      for (const r of [0, 1, 2]) out[i * width + d] += along[r] * directions[r * width + d];
    }
  }
  return out;
};

for (const [count, width, levels] of [
  [16400, 5, 300],
  [16384, 20, 65],
  [300, 100, 128],
]) {
  const both = inFewDirections(count + levels, width);
  const vectors = both.subarray(0, count * width);
  const codebook = both.subarray(count * width).slice();
  codebook.copyWithin((levels >> 1) * width, 0, (levels >> 2) * width);
  for (let i = 0; i < count; i += 3) {
    const [a, b] = [random(), random()].map((at) => Math.floor(at * levels) * width);
    for (let d = 0; d < width; d++)
      vectors[i * width + d] = (codebook[a + d] + codebook[b + d]) / 2;
  }
  vectors.set([Number.NaN, Infinity, -3e38, 1e-40], 7);
  record(`nearest in cells ${count} ${width} ${levels}`, new Uint16Array(count), (out) =>
    kernels.nearest({ vectors, codebook, out, width }),
  );
}

for (const share of [1, 0.02]) {
  const sizes = { classes: 300, latent: 120, width: 20, bits: 7 };
  const projection = inFewDirections(300, 120);
  const codebook = inFewDirections(128, 20);
  const labels = floats(203 * 300).map((value) => (random() < share ? value : 1e-12 * value));
  record(`encode in cells ${share}`, new Uint8Array((203 * 6 * 7) / 8 + 1), (out) =>
    kernels
      .createEncoder({ ...sizes, projection, codebook })
      .encode({ labels, out: out.subarray(0, Math.ceil((203 * 6 * 7) / 8)) }),
  );
}

{
  const sizes = { classes: 101, latent: 60, width: 15, bits: 7 };
  const labels = floats(70 * 101);
  const projection = floats(101 * 60);
  const codebook = floats(100 * 15);
  record('encode', new Uint8Array((70 * 4 * 7) / 8), (out) =>
    kernels.createEncoder({ ...sizes, projection, codebook }).encode({ labels, out }),
  );
}

// Small tables in wide blocks, and one beyond the size that has narrow ones (150 stages in several runs).
for (const [classes, stages, levels, width] of [
  [1, 11, 16, 6],
  [7, 11, 16, 6],
  [64, 11, 16, 6],
  [65, 11, 13, 6],
  [999, 11, 16, 6],
  [1001, 11, 16, 6],
  [300, 150, 200, 2],
]) {
  const bits = Math.ceil(Math.log2(levels));
  const latent = stages * width;
  const spec = { classes, stages, levels, width, bits, latent, latentStep: width };
  const codebooks = floats(levels * width);
  const basis = floats(latent * classes);
  const bias = floats(classes);
  const bases = floats(3 * latent);
  const indices = Uint16Array.from({ length: 40 * stages }, () => random() * levels);
  const codes = new Uint8Array(Math.ceil((indices.length * bits) / 8));
  kernels.pack({ indices, bits, out: codes });
  const labels = { start: 3, count: 37 };
  const prediction = {
    pairs: Uint32Array.from({ length: 2 * labels.count }, () => random() * 3),
    weights: Float32Array.from({ length: labels.count }, random),
  };
  const logits = floats(labels.count * classes);
  for (const head of [
    { kind: 'identity' },
    { kind: 'clamp', eps: 0.01 },
    { kind: 'softmax', tau: 0.3 },
  ]) {
    for (const method of ['latent', 'table', 'fixed']) {
      const shape = { ...spec, codebookStride: 0, codebooks, basis, bias, head, method };
      const name = `${classes} ${stages} ${head.kind} ${method}`;
      const length = labels.count * classes;
      const decoder = kernels.createDecoder(shape);
      record(`decode ${name}`, new Float32Array(length), (out) =>
        decoder.decode({ codes, labels, out }),
      );
      for (const outType of ['float16', 'bfloat16']) {
        record(`decode ${name} ${outType}`, new Uint16Array(length), (out) =>
          decoder.decode({ codes, labels, out, outType }),
        );
      }
      const predicted = kernels.createDecoder({ ...shape, bases });
      record(`predict ${name}`, new Float32Array(length), (out) =>
        predicted.decode({ codes, labels, prediction, out }),
      );
      if (head.kind === 'identity') continue;
      for (const loss of ['kl', 'cross-entropy']) {
        record(`loss ${name} ${loss}`, new Float32Array(length + labels.count), (out) =>
          decoder.decodeKl({
            ...{ codes, labels, logits, tau: 2, loss },
            losses: out.subarray(0, labels.count),
            gradient: out.subarray(labels.count),
          }),
        );
      }
    }
  }
}

// Views: [image, its crop, flip, image mixed in, its crop, flip, box].
for (const [height, width] of [
  [1, 1],
  [7, 16],
  [17, 33],
  [32, 49],
]) {
  const sizes = Uint32Array.of(9, 11, 40, 64);
  const images = [9 * 11 * 3, 40 * 64 * 3].map((length) =>
    Uint8Array.from({ length }, () => 256 * random()),
  );
  const box = [0, 0, (height + 1) >> 1, width >> 1];
  const views = Int32Array.of(
    ...[0, 0, 0, 9, 11, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ...[0, 2, 3, 5, 1, 1, 1, 3, 4, 37, 60, 1, ...box],
    ...[1, 8, 9, 30, 50, 1, 0, 0, 0, 9, 11, 0, 0, 0, 0, 0],
  );
  for (const resample of ['bilinear', 'antialias']) {
    for (const round of ['none', 'u8']) {
      const name = `augment ${height}x${width} ${resample} ${round}`;
      record(name, new Float32Array(3 * height * width * 3), (out) =>
        kernels.augment({
          ...{ images, sizes, views, size: [height, width], out, resample, round },
          weights: Float32Array.of(1, 1, 0.3),
          normalisation: { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
        }),
      );
    }
  }
}

const frequencies = new Uint16Array(512);
for (const table of [0, 1]) {
  frequencies[256 * table] = 96;
  frequencies.fill(table === 0 ? 400 : 250, 256 * table + 124, 256 * table + 132);
  frequencies[256 * table + 140] = table === 0 ? 800 : 2000;
}
const tables = new RansTables(frequencies);
for (const trellis of [1, 4, 8]) {
  for (const lanes of [1, 4, 8, 16, 32]) {
    for (const columns of [1, 31, 64, 333]) {
      const rows = 5;
      const rowTables = Uint16Array.from(
        { length: trellis === 1 ? rows : 2 * rows },
        (_, i) => i % 2,
      );
      const model = { tables, rowTables, trellis, columns };
      const values = Int16Array.from({ length: rows * columns }, () => {
        return random() < 0.02 ? 5000 - 10000 * random() : random() < 0.3 ? 12 : 8 * random() - 4;
      });
      const bytes = kernels.encodeRans({ ...model, values, lanes });
      const name = `rans ${trellis} ${lanes} ${columns}`;
      record(`${name} bytes`, bytes.slice(), (out) => out.set(bytes));
      record(name, new Int16Array(values.length), (out) => {
        kernels.decodeRans({ ...model, bytes, out });
      });
      // Damaged: what was decoded until it was noticed.
      const damaged = bytes.map((byte, i) => (i === bytes.length >> 1 ? byte ^ 16 : byte));
      record(`${name} damaged`, new Int16Array(values.length), (out) => {
        try {
          kernels.decodeRans({ ...model, bytes: damaged, out });
        } catch {
          out.fill(1);
        }
      });
    }
  }
}

for (const [labels, rank] of [
  [1, 1],
  [7, 3],
  [64, 64],
  [333, 70],
]) {
  const values = floats(labels * rank).map((value) => 20 * value ** 3);
  values[0] = Number.NaN;
  const shifts = Int8Array.from({ length: rank }, () => 255 * random() - 127);
  const costs = Float64Array.from({ length: rank * 512 }, () => Math.floor(6 * random()) / 4);
  const indices = Int16Array.from({ length: labels * rank }, () =>
    random() < 0.02 ? 5000 - 10000 * random() : 8 * random() - 4,
  );
  const shared = { shifts, unit: 0.7 };
  for (const trellis of [1, 4, 8]) {
    const name = `${labels}x${rank} ${trellis}`;
    record(`dequantise ${name}`, new Float32Array(indices.length), (out) =>
      kernels.dequantise({ ...shared, indices, trellis, out }),
    );
    if (trellis === 1) continue;
    record(`quantise ${name}`, new Int16Array(values.length), (out) =>
      kernels.quantise({ ...shared, values, costs, trellis, out }),
    );
  }
  const [basis, bias] = [floats(rank * 101), floats(101)];
  const decoder = kernels.createLatentDecoder({ basis, bias });
  const latents = values.fill(1, 0, 1);
  record(`latents ${labels}x${rank}`, new Float32Array(labels * 101), (out) =>
    decoder.decode({ latents, tau: 2, out }),
  );
  const logits = floats(labels * rank).map((value) => 50 * value);
  record(`centre ${labels}x${rank}`, new Float32Array(logits.length), (out) =>
    kernels.centreLogits({ logits, classes: rank, depth: 60, mean: floats(rank), out }),
  );
}

console.log(JSON.stringify({ isa: kernels.isa, digests }));
