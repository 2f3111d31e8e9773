/**
 * Holds numbers that few labels tell of back: less is learnt by heart, and they cost less. With 0.3, and half of the noise and a
 * tenth of the decay of train.ts, labels of epochs that were not learnt from took 7 bits more of 245 (rate by variances), and
 * embeddings half as much again (9 epochs of the labels of bench/fidelity.mjs); with 1.2, and twice the decay there, 3 bits more.
 */
const DECAY = 0.8;

/** AdamW that updates only rows with a gradient: those of other images have none in a batch. */
export class RowAdam {
  readonly #values: Float32Array;
  readonly #width: number;
  readonly #mean: Float32Array;
  readonly #square: Float32Array;
  readonly #gradient: Float32Array;
  readonly #touched = new Set<number>();
  readonly #steps: Uint32Array;

  constructor(values: Float32Array, width: number) {
    this.#values = values;
    this.#width = width;
    this.#mean = new Float32Array(values.length);
    this.#square = new Float32Array(values.length);
    this.#gradient = new Float32Array(values.length);
    this.#steps = new Uint32Array(values.length / width);
  }

  add(row: number, at: number, gradient: Float32Array, share: number): void {
    const from = row * this.#width + at;
    for (let k = 0; k < gradient.length; k++) this.#gradient[from + k] += share * gradient[k];
    this.#touched.add(row);
  }

  update(rate: number): void {
    for (const row of this.#touched) {
      const steps = ++this.#steps[row];
      const [b1, b2] = [0.9, 0.99];
      const [c1, c2] = [1 - b1 ** steps, 1 - b2 ** steps];
      for (let i = row * this.#width; i < (row + 1) * this.#width; i++) {
        const g = this.#gradient[i];
        const m = b1 * this.#mean[i] + (1 - b1) * g;
        const v = b2 * this.#square[i] + (1 - b2) * g * g;
        [this.#mean[i], this.#square[i], this.#gradient[i]] = [m, v, 0];
        const kept = this.#values[i] * (1 - rate * DECAY);
        this.#values[i] = kept - (rate * (m / c1)) / (Math.sqrt(v / c2) + 1e-10);
      }
    }
    this.#touched.clear();
  }
}
