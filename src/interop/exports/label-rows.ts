import type { LabelArchive } from '../../archive/archive.js';
import { errorInRow, labelsOfRow } from '../../archive/read-labels.js';
import type { Codec } from '../../codecs/codec.js';
import { loadCodec } from '../../codecs/registry.js';
import { allocate } from '../../core/allocate.js';
import { float16ToFloat32, float32ToFloat16 } from '../../core/half.js';
import { SoftpackError } from '../../errors.js';
import type { Kernels } from '../../kernels/types.js';
import { softmaxRows } from '../../labels/temperature.js';

/** Labels decoded at a time. */
const CHUNK = 4096;
/** Largest finite half float. */
const MAX_HALF = 65504;

/** Labels of an archive's epochs as half floats [samples, classes]; those that it keeps uncompressed bit by bit. */
export class LabelRows implements Disposable {
  readonly #archive: LabelArchive;
  readonly #codecs: readonly Codec[];
  readonly #parts: readonly PartRows[];

  constructor(archive: LabelArchive, kernels: Kernels) {
    this.#archive = archive;
    this.#codecs = archive.parts.map(({ codecParts }) => loadCodec(codecParts, kernels));
    this.#parts = archive.parts.map((part, i) => new PartRows(part, this.#codecs[i]));
  }

  /** Logits: softmax(z / tau) gives the archive's labels at its tau. Centred where they were not kept as logits. */
  logits(epoch: number): Promise<Uint16Array> {
    return this.#joined(epoch, (part, own) => part.logits(own));
  }

  /**
   * Probabilities at `tau`, which must be the archive's unless it keeps logits: sharpening decoded labels would
   * raise the codec's error to the power of the ratio.
   */
  probabilities(epoch: number, tau: number): Promise<Uint16Array> {
    return this.#joined(epoch, (part, own) => part.probabilities(own, tau));
  }

  /** `UNSUPPORTED` if there are no probabilities at `tau`. */
  requireTau(tau: number): void {
    for (const part of this.#parts) part.requireTau(tau);
  }

  [Symbol.dispose](): void {
    for (const codec of this.#codecs) codec.dispose();
  }

  async #joined(
    epoch: number,
    read: (part: PartRows, epoch: number) => Promise<Uint16Array>,
  ): Promise<Uint16Array> {
    const parts = this.#archive.partsOf(epoch);
    const [first] = parts;
    if (parts.length === 1) return read(this.#parts[first.index], first.epoch);
    const { samples, classes } = this.#archive;
    const all = new Uint16Array(allocate(2 * samples * classes, `epoch ${epoch}`));
    for (const { index, epoch: own, samples: range } of parts) {
      all.set(await read(this.#parts[index], own), range[0] * classes);
    }
    return all;
  }
}

/** Labels of one part. */
class PartRows {
  readonly #archive: LabelArchive;
  readonly #codec: Codec;
  readonly #stored: string | undefined;

  constructor(archive: LabelArchive, codec: Codec) {
    const { name, config } = archive.codecParts;
    this.#archive = archive;
    this.#codec = codec;
    this.#stored = name === 'none' ? String(Reflect.get(config, 'store')) : undefined;
  }

  async logits(epoch: number): Promise<Uint16Array> {
    const { classes } = this.#archive;
    if (this.#stored === 'logits') return this.#halves(epoch);
    const { tau } = this.#codec;
    return this.#decoded(epoch, (values) => {
      for (let at = 0; at < values.length; at += classes) {
        centredLogits(values.subarray(at, at + classes), tau);
      }
    });
  }

  async probabilities(epoch: number, tau: number): Promise<Uint16Array> {
    const { classes } = this.#archive;
    if (this.#stored === 'logits') {
      const halves = await this.#halves(epoch);
      return converted(halves, classes, (values) => {
        softmaxRows(values, values.length / classes, classes, tau, values);
      });
    }
    return this.#stored === undefined ? this.#decoded(epoch, () => {}, tau) : this.#halves(epoch);
  }

  requireTau(tau: number): void {
    if (this.#codec.anyTau || this.#codec.tau === tau) return;
    throw new SoftpackError('UNSUPPORTED', 'labels were decoded at another temperature', {
      field: 'tau',
      expected: `${this.#codec.tau}, that of the archive, or an archive of logits`,
      found: tau,
    });
  }

  async #halves(epoch: number): Promise<Uint16Array> {
    const row = await this.#archive.readRow(epoch);
    return new Uint16Array(row.buffer, row.byteOffset, row.length / 2);
  }

  async #decoded(
    epoch: number,
    change: (values: Float32Array) => void,
    tau = this.#codec.tau,
  ): Promise<Uint16Array> {
    const { classes, samples } = this.#archive;
    const row = await this.#archive.readRow(epoch);
    const halves = new Uint16Array(samples * classes);
    const values = new Float32Array(Math.min(CHUNK, samples) * classes);
    for (let start = 0; start < samples; start += CHUNK) {
      const labels = { start, count: Math.min(CHUNK, samples - start) };
      const out = values.subarray(0, labels.count * classes);
      const args = {
        row,
        labels,
        context: await labelsOfRow(this.#archive, epoch, labels, this.#codec),
        ...{ tau, out },
      };
      await this.#codec.decodeAsync(args).catch((error: unknown) => {
        throw errorInRow(this.#archive, epoch, error);
      });
      change(out);
      float32ToFloat16(out, halves.subarray(start * classes));
    }
    return halves;
  }
}

function converted(
  halves: Uint16Array,
  classes: number,
  change: (values: Float32Array) => void,
): Uint16Array {
  const out = new Uint16Array(halves.length);
  for (let start = 0; start < halves.length; start += CHUNK * classes) {
    const part = halves.subarray(start, start + CHUNK * classes);
    const values = new Float32Array(part.length);
    float16ToFloat32(part, values);
    change(values);
    float32ToFloat16(values, out.subarray(start, start + part.length));
  }
  return out;
}

/** Probabilities to tau log p less its mean over the classes above 0; half floats are densest about 0. */
function centredLogits(label: Float32Array, tau: number): void {
  let [sum, count] = [0, 0];
  for (const p of label) {
    if (p <= 0) continue;
    sum += tau * Math.log(p);
    count += 1;
  }
  const mean = count === 0 ? 0 : sum / count;
  for (const [j, p] of label.entries()) {
    const logit = p > 0 ? tau * Math.log(p) - mean : -MAX_HALF;
    label[j] = Math.min(MAX_HALF, Math.max(-MAX_HALF, logit));
  }
}
