import { expect, test } from 'vitest';
import { VqaeGradients } from '#src/codecs/vqae/gradients.js';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';
import { loadKernels } from '#src/kernels/load.js';

const shape = { classes: 7, dh: 6, dc: 3, k: 4 };
const weights = { alpha: 0.7, beta: 0.3 };
const batch = 5;

function draw(size: number, sequence: number): Float32Array {
  const random = new RandomSequence(3, STREAM.codec, sequence);
  return Float32Array.from({ length: size }, () => random.normal());
}

const parameters = {
  projection: draw(shape.classes * shape.dh, 0),
  decoder: draw(shape.dh * shape.classes, 1),
  codebook: draw(shape.k * shape.dc, 2),
};
const labels = draw(batch * shape.classes, 4);

type Parameters = typeof parameters;

/** h = y P in float64. */
function latentOf(projection: ArrayLike<number>): Float64Array {
  const h = new Float64Array(batch * shape.dh);
  for (let i = 0; i < batch; i++) {
    for (let j = 0; j < shape.dh; j++) {
      for (let l = 0; l < shape.classes; l++) {
        h[i * shape.dh + j] += labels[i * shape.classes + l] * projection[l * shape.dh + j];
      }
    }
  }
  return h;
}

function nearestOf(h: Float64Array): number[] {
  return Array.from({ length: h.length / shape.dc }, (_, segment) => {
    let [best, least] = [0, Number.POSITIVE_INFINITY];
    for (let code = 0; code < shape.k; code++) {
      let distance = 0;
      for (let j = 0; j < shape.dc; j++) {
        distance += (h[segment * shape.dc + j] - parameters.codebook[code * shape.dc + j]) ** 2;
      }
      if (distance < least) [best, least] = [code, distance];
    }
    return best;
  });
}

const start = latentOf(parameters.projection);
const codes = nearestOf(start);
const lookup = (codebook: ArrayLike<number>) =>
  Float64Array.from(
    start,
    (_, i) => codebook[codes[Math.floor(i / shape.dc)] * shape.dc + (i % shape.dc)],
  );
const chosen = lookup(parameters.codebook);

function squaredError(latent: Float64Array, decoder: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < batch; i++) {
    for (let l = 0; l < shape.classes; l++) {
      let value = -labels[i * shape.classes + l];
      for (let j = 0; j < shape.dh; j++)
        value += latent[i * shape.dh + j] * decoder[j * shape.classes + l];
      sum += value * value;
    }
  }
  return sum / batch;
}

function squaredDistance(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0) / batch;
}

/**
 * The function whose true gradient the straight-through estimator is, at the start point: codes fixed, the
 * quantiser replaced by h + (its constant offset) for P, and stop-gradients as constants.
 */
const surrogate: Record<keyof Parameters, (values: ArrayLike<number>) => number> = {
  decoder: (decoder) => squaredError(chosen, decoder),
  codebook: (codebook) => weights.alpha * squaredDistance(start, lookup(codebook)),
  projection: (projection) => {
    const h = latentOf(projection);
    const through = h.map((value, i) => value + chosen[i] - start[i]);
    return (
      squaredError(through, parameters.decoder) +
      weights.alpha * weights.beta * squaredDistance(h, chosen)
    );
  },
};

test.each(['projection', 'decoder', 'codebook'] as const)(
  'the gradient of %s is that of a finite difference',
  async (name) => {
    const gradients = new VqaeGradients(shape, batch, loadKernels());
    await gradients.decoderPass(parameters, labels, weights);
    await gradients.encoderPass(labels);
    const step = 1e-4;
    for (let i = 0; i < parameters[name].length; i++) {
      const shifted = (by: number) =>
        surrogate[name](
          Float64Array.from(parameters[name], (value, j) => (j === i ? value + by : value)),
        );
      const expected = (shifted(step) - shifted(-step)) / (2 * step);
      expect(gradients[name][i]).toBeCloseTo(expected, 4);
    }
  },
);

test('losses and codes are those of the formulas', async () => {
  const gradients = new VqaeGradients(shape, batch, loadKernels());
  const losses = await gradients.decoderPass(parameters, labels, weights);
  expect([...gradients.codes]).toEqual(codes);
  expect(losses.reconstruction).toBeCloseTo(squaredError(chosen, parameters.decoder), 4);
  expect(losses.quantisation).toBeCloseTo(squaredDistance(start, chosen), 4);
});
