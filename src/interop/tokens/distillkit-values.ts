import { float16ToFloat32, toBfloat, toHalf } from '../../core/half.js';
import {
  type DistillKitConfig,
  type ResidualBin,
  TERM_BYTES,
  type TermDtype,
} from './distillkit-config.js';
import { HighBitReader } from './high-bits.js';

/**
 * Values of one label of DistillKit: exact ones, coefficients, and per bin a scale and integers of any number of bits,
 * most significant first. Rounded wherever torch rounds, so that values are the ones that its training sees.
 */
export class DistillKitValues {
  readonly #config: DistillKitConfig;
  /** [rest, terms] in the type of the terms. */
  readonly #basis: readonly (readonly number[])[];
  readonly #out: Float64Array;

  constructor(config: DistillKitConfig) {
    this.#config = config;
    this.#basis = basisOf(config);
    this.#out = new Float64Array(config.k);
  }

  /** Log-probabilities in order of their ranks; overwritten by the next call. */
  decode(bytes: Uint8Array): Float64Array {
    const { k, exactK, exactDtype, terms, termDtype, bins, delta } = this.#config;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let at = 0;
    const next = (dtype: TermDtype) => {
      const value = readTerm(view, at, dtype);
      at += TERM_BYTES[dtype];
      return value;
    };
    const out = this.#out;
    for (let i = 0; i < exactK; i++) out[i] = next(exactDtype);
    const coefficients = terms.map(() => next(termDtype));
    out.fill(0, exactK);
    let first = exactK;
    for (const bin of bins) {
      const scale = next(bin.scaleDtype);
      readBin(bytes, at, bin, scale, out.subarray(first, first + bin.count));
      at += Math.ceil((bin.bits * bin.count) / 8);
      first += bin.count;
    }
    for (let i = exactK; i < k; i++) {
      const residual = round(out[i], exactDtype);
      // The sum has the wider of the two types.
      out[i] =
        terms.length === 0
          ? residual
          : round(this.#fit(i - exactK, coefficients) + residual, wider(termDtype, exactDtype));
    }
    if (delta) accumulate(out, exactDtype);
    return out;
  }

  #fit(rank: number, coefficients: readonly number[]): number {
    const { termDtype } = this.#config;
    const basis = this.#basis[rank];
    let sum = 0;
    for (let i = 0; i < basis.length; i++) sum += round(basis[i] * coefficients[i], termDtype);
    return round(sum, termDtype);
  }
}

function basisOf({ k, exactK, terms, termDtype, normalizeT }: DistillKitConfig) {
  const rest = k - exactK;
  return Array.from({ length: rest }, (_, i) => {
    const t = round(normalizeT ? i / Math.max(1, rest - 1) : i, termDtype);
    return terms.map((term) => {
      if (term === 'sqrt') return round(Math.sqrt(t), termDtype);
      if (term === 'exp') return round(Math.exp(t), termDtype);
      return round(t ** term, termDtype);
    });
  });
}

/** torch sums in float64 what it returns as float32. */
function accumulate(values: Float64Array, dtype: TermDtype): void {
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    sum += Math.fround(values[i]);
    values[i] = round(Math.fround(sum), dtype);
  }
}

function readBin(
  bytes: Uint8Array,
  begin: number,
  { bits, count, scaleDtype }: ResidualBin,
  scale: number,
  out: Float64Array,
): void {
  const reader = new HighBitReader(bytes, begin);
  for (let i = 0; i < count; i++) {
    const stored = reader.read(bits);
    const value = bits === 1 ? 2 * stored - 1 : centred(stored, bits);
    const product = Math.fround(value) * scale;
    out[i] = scaleDtype === 'float64' ? product : Math.fround(product);
  }
}

function centred(stored: number, bits: number): number {
  return stored - 2 ** (bits - 1);
}

const half = new Uint16Array(1);
const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

function readTerm(view: DataView, at: number, dtype: TermDtype): number {
  if (dtype === 'float64') return view.getFloat64(at, true);
  if (dtype === 'float32') return view.getFloat32(at, true);
  return widen(view.getUint16(at, true), dtype);
}

function widen(bits: number, dtype: 'float16' | 'bfloat16'): number {
  if (dtype === 'bfloat16') {
    word[0] = bits << 16;
  } else {
    half[0] = bits;
    float16ToFloat32(half, float);
  }
  return float[0];
}

/** A number as the type holds it. */
function round(value: number, dtype: TermDtype): number {
  if (dtype === 'float64') return value;
  if (dtype === 'float32') return Math.fround(value);
  return widen(dtype === 'float16' ? toHalf(value) : toBfloat(value), dtype);
}

/** The type that torch gives to a sum of two. */
function wider(a: TermDtype, b: TermDtype): TermDtype {
  if (a === b) return a;
  return a === 'float64' || b === 'float64' ? 'float64' : 'float32';
}
