import * as tf from '@tensorflow/tfjs';
import { invalidFile } from '../../errors.js';

/** The method by which every layer creates its variables; protected in the types. */
interface WithWeights {
  addWeight(name: string, shape: readonly (number | null)[], ...rest: readonly unknown[]): unknown;
}

let last: Promise<unknown> = Promise.resolve();

/**
 * Builds a layers model whose layers may create at most `limit` elements of variables, the number in its weight files:
 * layers allocate and draw what their configuration says before the weights are compared with it. One model at a time,
 * as the limit applies to all layers of the process.
 */
export function withWeightLimit<T>(
  path: string,
  limit: number,
  build: () => Promise<T>,
): Promise<T> {
  const built = last.then(() => limited(path, limit, build));
  last = built.catch(() => undefined);
  return built;
}

async function limited<T>(path: string, limit: number, build: () => Promise<T>): Promise<T> {
  const layers = tf.layers.Layer.prototype as unknown as WithWeights;
  const { addWeight } = layers;
  let elements = 0;
  layers.addWeight = function (this: WithWeights, name, shape, ...rest) {
    elements += shape.reduce<number>((size, length) => size * Number(length), 1);
    if (!(elements <= limit)) {
      const expected = `at most ${limit} values, those of the weight files`;
      throw invalidFile(path, 'modelTopology', 'layers are larger than the weights', {
        expected,
        found: `${name}: ${elements}`,
      });
    }
    return addWeight.call(this, name, shape, ...rest);
  };
  try {
    return await build();
  } finally {
    layers.addWeight = addWeight;
  }
}
