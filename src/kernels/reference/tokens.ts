import { BitReader, BitWriter, readBelow, writeBelow } from '../../core/bit-stream.js';
import { float16ToFloat32, toHalf } from '../../core/half.js';
import {
  checkDecodeTokens,
  checkEncodeTokens,
  invalidTokenCodes,
  invalidTokens,
} from '../check/tokens.js';
import {
  type DecodeTokensArgs,
  type EncodedTokens,
  type EncodeTokensArgs,
  STAGE_CODES,
  TOKEN_GROUP,
  type TokenLabelModel,
  type TokenValues,
  valueWidth,
  vocabularyOf,
} from '../tokens.js';
import {
  readCounted,
  readMultiset,
  readSet,
  writeCounted,
  writeMultiset,
  writeSet,
} from './set-code.js';
import { expOf } from './token-exp.js';

/** Of a sum of float32 probabilities. */
const ROUNDING = 2 ** -20;
/** Orders of ids are joined to words of at most this many values. */
const MAX_WORD = 2 ** 32;

export function encodeTokens(args: EncodeTokensArgs): EncodedTokens {
  const { model, counts, ids, logProbs, indices, drawn, position, labels } =
    checkEncodeTokens(args);
  const { k, samples, values } = model;
  const writer = new BitWriter(position);
  const begins: number[] = [];
  for (let label = 0; label < labels; label++) {
    if (label > 0 && label % TOKEN_GROUP === 0) begins.push(writer.position - position);
    const own = namesOf(model, ids.subarray(label * k, label * k + counts[label]));
    if (values !== undefined && own.length < k) throw invalidTokens();
    const order = ascending(own);
    if (order.some((i, at) => at > 0 && own[order[at - 1]] === own[i])) throw invalidTokens();
    if (values === undefined || indices === undefined) {
      writeExact(writer, model, own, order, logProbs?.subarray(label * k) ?? []);
    } else {
      const stages = Array.from({ length: values.stages }, (_, s) => indices[s * labels + label]);
      writeQuantised(writer, model, values.ordered, own, order, stages);
    }
    const others = drawn.subarray(label * samples, (label + 1) * samples);
    if (samples > 0) {
      const write = model.counted ? writeCounted : writeMultiset;
      write(writer, namesOf(model, others).sort(), vocabularyOf(model));
    }
  }
  if (writer.position - position > 2 ** 32 - 1) throw invalidTokens();
  return { bytes: writer.bytes(), begins: Uint32Array.from(begins) };
}

/** `INVALID_ARGUMENT` for an id beyond the vocabulary. */
function namesOf(model: TokenLabelModel, ids: Uint32Array): Uint32Array {
  const vocabulary = vocabularyOf(model);
  return ids.map((id) => {
    const name = id < vocabulary ? model.names[id] : vocabulary;
    if (name >= vocabulary) throw invalidTokens();
    return name;
  });
}

function ascending(names: Uint32Array): number[] {
  return Array.from(names, (_, i) => i).sort((a, b) => names[a] - names[b]);
}

function writeExact(
  writer: BitWriter,
  model: TokenLabelModel,
  names: Uint32Array,
  order: readonly number[],
  logProbs: ArrayLike<number>,
): void {
  if (model.k === 0) return;
  writeBelow(writer, names.length, model.k + 1);
  const sorted = order.map((i) => names[i]);
  writeSet(writer, sorted, vocabularyOf(model));
  for (const i of order) writer.write(toHalf(logProbs[i]), 16);
}

function writeQuantised(
  writer: BitWriter,
  model: TokenLabelModel,
  ordered: number,
  names: Uint32Array,
  order: readonly number[],
  stages: readonly number[],
): void {
  const sorted = order.map((i) => names[i]);
  writeSet(writer, sorted, vocabularyOf(model));
  const digits = Array.from({ length: ordered }, () => 0);
  const left = order.slice();
  for (let rank = 0; rank < ordered; rank++) {
    digits[rank] = left.indexOf(rank);
    left.splice(digits[rank], 1);
  }
  for (const [from, to, range] of words(names.length, ordered)) {
    let word = 0;
    for (let rank = from; rank < to; rank++) word = word * (names.length - rank) + digits[rank];
    writeBelow(writer, word, range);
  }
  for (const index of stages) writer.write(index & 255, 8);
}

/** Ranks [from, to) whose order is one word, and how many values it has. */
function words(k: number, ordered: number): readonly (readonly [number, number, number])[] {
  const found: [number, number, number][] = [];
  let [from, range] = [0, 1];
  for (let rank = 0; rank < ordered; rank++) {
    if (range * (k - rank) > MAX_WORD) {
      found.push([from, rank, range]);
      [from, range] = [rank, 1];
    }
    range *= k - rank;
  }
  return [...found, [from, ordered, range]];
}

/** A label as it is decoded: entries [k + samples], probability 0 behind the last one. */
interface DecodedLabel {
  readonly ids: Int32Array;
  readonly probabilities: Float32Array;
}

export function decodeTokens(args: DecodeTokensArgs): void {
  const { model, bytes, position, begins, skip, labels, probabilities } = checkDecodeTokens(args);
  const width = model.k + model.samples;
  const reader = new BitReader(bytes);
  const passed = { ids: new Int32Array(width), probabilities: new Float32Array(width) };
  for (let i = 0; (i - skip) * width < labels.length; i++) {
    if (i % TOKEN_GROUP === 0) reader.position = position + begins[i / TOKEN_GROUP];
    const [from, to] = [(i - skip) * width, (i - skip + 1) * width];
    const ids = labels.subarray(from, to);
    const own = { ids, probabilities: probabilities.subarray(from, to) };
    decodeLabel(reader, model, i < skip ? passed : own);
  }
}

function decodeLabel(reader: BitReader, model: TokenLabelModel, out: DecodedLabel): void {
  const { values, samples } = model;
  out.ids.fill(0);
  out.probabilities.fill(0);
  const listed =
    values === undefined
      ? readExact(reader, model, out)
      : readQuantised(reader, model, values, out);
  boundMass(out.probabilities, listed);
  if (samples === 0) return;
  const drawn = new Uint32Array(samples);
  (model.counted ? readCounted : readMultiset)(reader, drawn, vocabularyOf(model));
  addSamples(drawn, model, listed, out);
  boundMass(out.probabilities, out.probabilities.length);
}

function readExact(reader: BitReader, model: TokenLabelModel, out: DecodedLabel): number {
  if (model.k === 0) return 0;
  const count = readBelow(reader, model.k + 1);
  const names = new Uint32Array(count);
  readSet(reader, names, vocabularyOf(model));
  const halves = Uint16Array.from(names, () => reader.read(16));
  const logProbs = new Float32Array(count);
  float16ToFloat32(halves, logProbs);
  // From the most probable on; equal ones by name.
  const order = Array.from(names, (_, i) => i).sort((a, b) => logProbs[b] - logProbs[a] || a - b);
  for (const [at, i] of order.entries()) {
    if (!(logProbs[i] <= 0)) throw invalidTokenCodes();
    out.ids[at] = model.ids[names[i]];
    out.probabilities[at] = expOf(logProbs[i]);
  }
  return count;
}

function readQuantised(
  reader: BitReader,
  model: TokenLabelModel,
  quantised: TokenValues,
  out: DecodedLabel,
): number {
  const { k, ids } = model;
  const { ordered } = quantised;
  const names = new Uint32Array(k);
  readSet(reader, names, vocabularyOf(model));
  const digits: number[] = [];
  for (const [from, to, range] of words(k, ordered)) {
    let word = readBelow(reader, range);
    for (let rank = to - 1; rank >= from; rank--) {
      digits[rank] = word % (k - rank);
      word = Math.floor(word / (k - rank));
    }
  }
  const left = Array.from(names);
  for (const [rank, digit] of digits.entries()) {
    const [name] = left.splice(digit, 1);
    out.ids[rank] = ids[name];
  }
  for (const [i, name] of left.entries()) out.ids[ordered + i] = ids[name];
  const values = readValues(reader, k, quantised);
  for (let rank = 0; rank < ordered; rank++) out.probabilities[rank] = expOf(values[rank]);
  const each = k === ordered ? 0 : expOf(values[ordered]) / (k - ordered);
  out.probabilities.fill(each, ordered, k);
  return k;
}

function readValues(
  reader: BitReader,
  k: number,
  { ordered, stages, codebooks, scale }: TokenValues,
): Float32Array {
  const width = valueWidth(k, ordered);
  const values = new Float32Array(width);
  for (let stage = 0; stage < stages; stage++) {
    const at = (stage * STAGE_CODES + reader.read(8)) * width;
    for (let j = 0; j < width; j++) values[j] += codebooks[at + j];
  }
  return values.map((value, j) => Math.min(value / scale[j], 0));
}

/** Samples share what is not listed; those of one id are one entry, those of a listed id add to it. */
function addSamples(
  drawn: Uint32Array,
  model: TokenLabelModel,
  listed: number,
  out: DecodedLabel,
): void {
  const mass = out.probabilities.subarray(0, listed).reduce((sum, p) => sum + p, 0);
  const each = Math.max(1 - mass, 0) / drawn.length;
  let at = listed;
  for (const [i, name] of drawn.entries()) {
    const id = model.ids[name];
    const own = out.ids.subarray(0, listed).indexOf(id);
    if (own >= 0) {
      out.probabilities[own] += each;
    } else if (i > 0 && drawn[i - 1] === name) {
      out.probabilities[at - 1] += each;
    } else {
      out.ids[at] = id;
      out.probabilities[at] = each;
      at++;
    }
  }
}

/** Decoded mass never exceeds 1: where quantisation adds up to more it is scaled down. */
function boundMass(probabilities: Float32Array, count: number): void {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += probabilities[i];
  if (sum <= 1) return;
  for (let i = 0; i < count; i++) probabilities[i] /= sum * (1 + ROUNDING);
}
