import { bitsFor, readBits, writeBits } from '../core/bits.js';
import type { FieldChecker } from '../core/check.js';
import type { CodecParts } from '../core/codec-parts.js';
import { float16ToFloat32, float32ToFloat16 } from '../core/half.js';
import { halfLogits } from '../labels/logits.js';
import { softmaxRows } from '../labels/temperature.js';
import { argumentChecker, type CommonConfig, checkCommon, configOf } from './config.js';
import type { CodecDescriptor, RatioChoice } from './descriptor.js';
import { invalidCodes, LabelwiseCodec, renormalise } from './labelwise.js';
import { largestFitting, unitsForRatio } from './size-search.js';
import { codecShape } from './tensors.js';

/**
 * The k likeliest classes of a label.
 *
 * | known as                                     | k | values          | rest      |
 * | -------------------------------------------- | - | --------------- | --------- |
 * | hard (FKD)                                   | 1 | `none`          | `zero`    |
 * | smoothing (FKD)                              | 1 | `probabilities` | `uniform` |
 * | marginal smoothing, k = 5 or 10 (FKD)        | k | `probabilities` | `uniform` |
 * | marginal re-norm (FKD)                       | k | `probabilities` | `zero`    |
 * | top-k logits, "MR-k" (LPQLD)                 | k | `logits`        | `zero`    |
 */
export interface TopKConfig extends CommonConfig {
  readonly k: number;
  /** Kept besides the class ids, as float16: softmax(z / tau), z (any temperature later), or nothing. */
  readonly values: 'probabilities' | 'logits' | 'none';
  /** The other classes share the rest of 1, or get nothing and the k values are renormalised. */
  readonly rest: 'uniform' | 'zero';
}

const VALUE_BITS = 16;

const VALUES = ['probabilities', 'logits', 'none'] as const;
const RESTS = ['uniform', 'zero'] as const;

export type TopKForm = Pick<TopKConfig, 'values' | 'rest'>;

/** Defaults: probabilities, and what is left of 1 for all other classes. */
function topKForm({
  values = 'probabilities',
  rest = values === 'probabilities' ? 'uniform' : 'zero',
}: Partial<TopKForm>): TopKForm {
  return { values, rest };
}

function topKBits({ classes, k, values }: Pick<TopKConfig, 'classes' | 'k' | 'values'>): number {
  return k * (bitsFor(classes) + (values === 'none' ? 0 : VALUE_BITS));
}

function checkTopKConfig(
  config: TopKConfig,
  check: FieldChecker = argumentChecker('topk'),
): TopKConfig {
  const { classes, tau, k, values, rest } = config;
  checkCommon(config, check);
  check.count(k, 'k', 1, classes);
  check.oneOf(values, 'values', VALUES);
  check.oneOf(rest, 'rest', RESTS);
  check.that(values !== 'none' || k === 1, k, 'k', '1 without values');
  check.that(values === 'probabilities' || rest === 'zero', rest, 'rest', `zero for ${values}`);
  return { classes, tau, k, values, rest };
}

/** Ids and values of the likeliest classes, likeliest first. */
export class TopKCodec extends LabelwiseCodec {
  readonly name = 'topk';
  readonly config: TopKConfig;
  readonly decoding: string;
  readonly #idBits: number;

  constructor(config: TopKConfig) {
    super(topKBits(config));
    this.config = checkTopKConfig(config);
    this.#idBits = bitsFor(config.classes);
    this.decoding = decodingOf(this.config, this.#idBits);
  }

  override get anyTau(): boolean {
    return this.config.values === 'logits';
  }

  static fromParts(parts: CodecParts): TopKCodec {
    return new TopKCodec(configOf(parts, checkTopKConfig));
  }

  async encode(logits: Float32Array): Promise<Uint8Array> {
    const { classes, tau, k, values } = this.config;
    const count = logits.length / classes;
    const codes = new Uint8Array(Math.ceil((count * this.bitsPerLabel) / 8));
    const label = new Float32Array(classes);
    const kept = new Float32Array(k);
    const halves = new Uint16Array(k);
    for (let i = 0; i < count; i++) {
      const row = logits.subarray(i * classes, (i + 1) * classes);
      const ids = largest(row, k);
      if (values === 'probabilities') softmaxRows(row, 1, classes, tau, label);
      else label.set(row);
      for (const [slot, id] of ids.entries()) kept[slot] = label[id];
      if (values === 'logits') halfLogits(kept, k, halves);
      else float32ToFloat16(kept, halves);
      let position = i * this.bitsPerLabel;
      for (const [slot, id] of ids.entries()) {
        writeBits(codes, position, this.#idBits, id);
        position += this.#idBits;
        if (values === 'none') continue;
        writeBits(codes, position, VALUE_BITS, halves[slot]);
        position += VALUE_BITS;
      }
    }
    return codes;
  }

  protected decodeLabel(
    row: Uint8Array,
    position: number,
    out: Float32Array,
    _sample: number,
    tau: number,
  ): void {
    const { classes, k, values, rest } = this.config;
    const ids = new Uint32Array(k);
    const halves = new Uint16Array(k);
    let at = position;
    for (let slot = 0; slot < k; slot++) {
      ids[slot] = readBits(row, at, this.#idBits);
      if (ids[slot] >= classes) throw invalidCodes(`a class below ${classes}`, ids[slot]);
      at += this.#idBits;
      if (values === 'none') continue;
      halves[slot] = readBits(row, at, VALUE_BITS);
      at += VALUE_BITS;
    }
    const kept = new Float32Array(k).fill(1);
    if (values !== 'none') float16ToFloat32(halves, kept);
    if (values === 'logits') softmaxRows(kept, 1, k, tau, kept);
    let sum = 0;
    for (const value of kept) {
      if (!(value >= 0 && value <= 1)) throw invalidCodes('values of a distribution', value);
      sum += value;
    }
    const others = classes - k;
    const left = rest === 'uniform' && others > 0 ? Math.max(0, 1 - sum) : 0;
    if (sum + left === 0) throw invalidCodes('a positive sum', 0);
    out.fill(left === 0 ? 0 : left / others / (sum + left));
    // Ids that a damaged code repeats would count twice: the last one stands, and the rest is renormalised.
    for (let slot = 0; slot < k; slot++) out[ids[slot]] = kept[slot] / (sum + left);
    if (new Set(ids).size < k) renormalise(out);
  }

  parts(): CodecParts {
    const config = { ...this.config };
    return { name: this.name, config, tensors: new Map(), sampleTensors: new Map() };
  }
}

function decodingOf({ k, values, rest }: TopKConfig, idBits: number): string {
  const fields =
    values === 'none' ? '' : `, each followed by a float16 (its 16 bits as an integer)`;
  const kept = {
    none: 'y = 1 for that class',
    probabilities: 'p = the floats',
    logits: 'p = softmax(floats / tau) over the k classes alone',
  }[values];
  const others = {
    zero: 'y of all other classes is 0; y = y / sum(y)',
    uniform: 'every other class has max(0, 1 - sum(p)) / (classes - k); y = y / sum(y)',
  }[rest];
  return `a label is ${k} class ids of ${idBits} bits${fields}, likeliest class first; ${kept}; ${others}`;
}

/** Indices of the k largest values, largest first; the lower index of equals. */
export function largest(values: Float32Array, k: number): Uint32Array {
  const ids = new Uint32Array(k);
  let filled = 0;
  for (let j = 0; j < values.length; j++) {
    const value = values[j];
    if (filled === k && !(value > values[ids[k - 1]])) continue;
    let slot = filled < k ? filled++ : k - 1;
    while (slot > 0 && value > values[ids[slot - 1]]) {
      ids[slot] = ids[slot - 1];
      slot--;
    }
    ids[slot] = j;
  }
  return ids;
}

export type TopKSized = Readonly<{ name: 'topk'; k: number } & Partial<TopKForm>>;

export const TOP_K: CodecDescriptor<
  TopKSized,
  Readonly<{ name: 'topk' } & Partial<TopKForm> & (RatioChoice | { k: number })>
> = {
  name: 'topk',
  parameters: [
    { name: 'k', words: 'classes that are kept', kind: 'size' },
    { name: 'values', words: 'what is kept besides the class ids', kind: 'form', values: VALUES },
    { name: 'rest', words: 'what the other classes have', kind: 'form', values: RESTS },
  ],
  docs: {
    label: 'ids of the k likeliest classes and a float16 each',
    bits: 'k (ceil(log2 C) + 16)',
    besides: '',
    numpy: `k, ids = c['k'], max(1, int(np.ceil(np.log2(C))))
f = fields(row, n, *([ids] if c['values'] == 'none' else [ids, 16]) * k)
q = f if c['values'] == 'none' else f[:, ::2]
p = np.ones((n, 1)) if c['values'] == 'none' else half(f[:, 1::2])
if c['values'] == 'logits':
    p = softmax(p, c['tau'])
rest = np.maximum(0, 1 - p.sum(1, keepdims=True)) if c['rest'] == 'uniform' and C > k else 0 * p[:, :1]
y = np.repeat(rest / max(1, C - k), C, 1)
np.put_along_axis(y, q.astype(np.int64), p, 1)
return y / y.sum(1, keepdims=True)`,
  },
  anyTau: ({ values }) => values === 'logits',
  sized(choice, { classes }) {
    if (!('ratio' in choice)) return choice;
    const { ratio } = choice;
    const form = topKForm(choice);
    const bits = topKBits({ classes, k: 1, ...form });
    return { name: 'topk', k: unitsForRatio('topk', { classes, ratio }, bits, classes), ...form };
  },
  check(choice, { classes, tau }, checker) {
    checkTopKConfig({ classes, tau, k: choice.k, ...topKForm(choice) }, checker);
  },
  forBytes(request) {
    const { form, labels } = request;
    return largestFitting(request, labels.classes, (k) => ({ ...form, name: 'topk', k }));
  },
  shape: (choice, { classes }) =>
    codecShape('topk', topKBits({ classes, k: choice.k, ...topKForm(choice) })),
  async train(choice, { classes, tau }) {
    return { codec: new TopKCodec({ classes, tau, k: choice.k, ...topKForm(choice) }) };
  },
  load: (parts) => TopKCodec.fromParts(parts),
  /** S15: k float16 probabilities and as many class ids of log2 C bits. */
  paperBytes: ({ k }, { classes, labels }) => labels * (2 * k + (k * Math.log2(classes)) / 8),
};
