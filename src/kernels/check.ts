import { SoftpackError } from '../errors.js';
import type {
  DecodeArgs,
  DecodeKlArgs,
  DecodeMethod,
  DecoderSpec,
  EncodeArgs,
  EncoderSpec,
  Head,
  LabelArray,
  LabelsArgs,
  NearestArgs,
  PackArgs,
  Precision,
  Prediction,
  ProjectArgs,
  ResidentCodes,
  UnpackArgs,
} from './types.js';

/**
 * The one place where kernel arguments are checked, for every backend. Each function throws `INVALID_ARGUMENT`
 * naming the argument, or returns the arguments with all defaults and derived sizes filled in.
 */

/** Indices are at most 16 bits wide. */
const MAX_LEVELS = 65536;
const MAX_THREADS = 256;

export type CheckedProject = Required<ProjectArgs>;

export interface CheckedNearest extends Required<NearestArgs> {
  readonly count: number;
  readonly levels: number;
}

export interface CheckedEncode extends Required<EncodeArgs> {
  readonly count: number;
}

export interface CheckedLabels {
  readonly codes: Uint8Array;
  /** What holds them, where that is not the array itself. */
  readonly resident: ResidentCodes | undefined;
  /** First label where labels are consecutive; unused with a list. */
  readonly start: number;
  readonly count: number;
  readonly list: Uint32Array | undefined;
  readonly prediction: Prediction | undefined;
  readonly threads: number;
}

export interface CheckedDecode extends CheckedLabels {
  readonly out: LabelArray;
  readonly outType: 'float16' | 'bfloat16';
}

export interface CheckedDecodeKl extends CheckedLabels {
  readonly logits: Float32Array;
  readonly tau: number;
  readonly loss: 'kl' | 'cross-entropy';
  readonly losses: Float32Array | undefined;
  readonly gradient: Float32Array | undefined;
  readonly scale: number;
}

const METHODS: readonly DecodeMethod[] = ['latent', 'table', 'fixed', 'bfloat', 'split'];
const PRECISIONS: readonly Precision[] = ['exact', 'fast', 'fastest'];

export function checkProject(args: ProjectArgs): CheckedProject {
  const rows = size('rows', args.rows);
  const inner = size('inner', args.inner);
  const columns = size('columns', args.columns);
  const a = floats('a', args.a, rows * inner);
  const b = floats('b', args.b, inner * columns);
  const out = floats('out', args.out, rows * columns);
  apart('out', out, { a, b });
  return {
    a,
    b,
    out,
    rows,
    inner,
    columns,
    transposeA: flag('transposeA', args.transposeA),
    transposeB: flag('transposeB', args.transposeB),
    accumulate: flag('accumulate', args.accumulate),
    threads: threads(args.threads),
  };
}

export function checkNearest(args: NearestArgs): CheckedNearest {
  const width = size('width', args.width, 1);
  const vectors = floats('vectors', args.vectors);
  const count = quotient('vectors', vectors.length, width, 'width');
  const { codebook, levels } = codebookOf(args.codebook, width);
  const out = typed('out', args.out, 'Uint16Array', count);
  apart('out', out, { vectors, codebook });
  return { vectors, codebook, out, width, count, levels, threads: threads(args.threads) };
}

export function checkPack(args: PackArgs): Required<PackArgs> {
  const bits = bitWidth(args.bits);
  const indices = typed('indices', args.indices, 'Uint16Array');
  const bitOffset = size('bitOffset', args.bitOffset ?? 0);
  const out = typed('out', args.out, 'Uint8Array');
  holdsBits('out', out, bitOffset + indices.length * bits);
  apart('out', out, { indices });
  const position = indices.findIndex((index) => index >> bits !== 0);
  if (position >= 0) {
    fail(`indices[${position}]`, 'does not fit', `less than ${2 ** bits}`, indices[position]);
  }
  return { indices, bits, out, bitOffset };
}

export function checkUnpack(args: UnpackArgs): Required<UnpackArgs> {
  const bits = bitWidth(args.bits);
  const packed = typed('packed', args.packed, 'Uint8Array');
  const bitOffset = size('bitOffset', args.bitOffset ?? 0);
  const out = typed('out', args.out, 'Uint16Array');
  holdsBits('packed', packed, bitOffset + out.length * bits);
  apart('out', out, { packed });
  return { packed, bits, out, bitOffset };
}

export function checkEncoderSpec(spec: EncoderSpec): EncoderSpec {
  const classes = size('classes', spec.classes, 1);
  const width = size('width', spec.width, 1);
  const latent = size('latent', spec.latent, 1);
  quotient('latent', latent, width, 'width');
  const bits = bitWidth(spec.bits);
  floats('projection', spec.projection, classes * latent);
  codebookOf(spec.codebook, width, bits);
  return spec;
}

export function checkEncode(spec: EncoderSpec, args: EncodeArgs): CheckedEncode {
  const labels = floats('labels', args.labels);
  const count = quotient('labels', labels.length, spec.classes, 'classes');
  const bits = (spec.latent / spec.width) * spec.bits;
  const out = typed('out', args.out, 'Uint8Array', Math.ceil((count * bits) / 8));
  apart('out', out, { labels });
  return { labels, count, out, threads: threads(args.threads) };
}

/** The spec with `bias` and `method` left as they are, each array checked against the sizes. */
export function checkDecoderSpec(spec: DecoderSpec): DecoderSpec {
  const classes = size('classes', spec.classes, 1);
  const width = size('width', spec.width, 1);
  const stages = size('stages', spec.stages, 1);
  const levels = size('levels', spec.levels, 1);
  const bits = bitWidth(spec.bits);
  if (levels > 2 ** bits)
    fail('levels', `cannot be told by ${bits} bits`, `<= ${2 ** bits}`, levels);
  const codebookStride = size('codebookStride', spec.codebookStride);
  const latentStep = size('latentStep', spec.latentStep);
  const latent = size('latent', spec.latent, 1);
  const expected = (stages - 1) * latentStep + width;
  if (latent !== expected) {
    fail('latent', 'must be (stages - 1) * latentStep + width', expected, latent);
  }
  floats('codebooks', spec.codebooks, (stages - 1) * codebookStride + levels * width);
  floats('basis', spec.basis, latent * classes);
  if (spec.bias !== undefined) floats('bias', spec.bias, classes);
  if (spec.bases !== undefined) {
    const bases = floats('bases', spec.bases);
    if (bases.length === 0) fail('bases', 'empty', 'at least one base vector', 0);
    quotient('bases', bases.length, latent, 'latent');
  }
  head(spec.head);
  oneOf('method', spec.method, METHODS);
  oneOf('precision', spec.precision, PRECISIONS);
  size('memoryCap', spec.memoryCap ?? 0);
  return spec;
}

function checkLabels(spec: DecoderSpec, args: LabelsArgs): CheckedLabels {
  const resident = isResident(args.codes) ? args.codes : undefined;
  const codes = typed('codes', resident === undefined ? args.codes : resident.host, 'Uint8Array');
  const { start, count, list, last } = labelsOf(args.labels);
  if (count > 0) holdsBits('codes', codes, (last + 1) * spec.stages * spec.bits);
  const prediction = predictionOf(spec, args.prediction, count);
  return { codes, resident, start, count, list, prediction, threads: threads(args.threads) };
}

function isResident(codes: unknown): codes is ResidentCodes {
  return typeof codes === 'object' && codes !== null && 'host' in codes;
}

/** The array to be kept at hand. */
export function checkCodesArray(codes: unknown): Uint8Array {
  return typed('codes', codes, 'Uint8Array');
}

export function checkDecode(spec: DecoderSpec, args: DecodeArgs): CheckedDecode {
  const labels = checkLabels(spec, args);
  const out = labelArray(args.out, labels.count * spec.classes);
  oneOf('outType', args.outType, ['float16', 'bfloat16']);
  apart('out', out, { codes: labels.codes });
  return { ...labels, out, outType: args.outType ?? 'float16' };
}

export function checkDecodeKl(spec: DecoderSpec, args: DecodeKlArgs): CheckedDecodeKl {
  if (spec.head.kind === 'identity') {
    fail('head', 'gives no distribution', 'a clamp or softmax head', 'identity');
  }
  const labels = checkLabels(spec, args);
  const { codes, count } = labels;
  const logits = floats('logits', args.logits, count * spec.classes);
  const { losses, gradient, scale = 1 } = args;
  positive('tau', args.tau);
  oneOf('loss', args.loss, ['kl', 'cross-entropy']);
  if (!Number.isFinite(Math.fround(scale))) fail('scale', 'not finite', 'a finite number', scale);
  if (losses !== undefined) {
    floats('losses', losses, count);
    apart('losses', losses, { codes, logits });
  }
  if (gradient !== undefined) {
    floats('gradient', gradient, count * spec.classes);
    const inPlace = gradient.buffer === logits.buffer && gradient.byteOffset === logits.byteOffset;
    apart('gradient', gradient, inPlace ? { codes } : { codes, logits });
    if (losses !== undefined) apart('gradient', gradient, { losses });
  }
  const loss = args.loss ?? 'kl';
  return { ...labels, logits, tau: args.tau, loss, losses, gradient, scale };
}

function predictionOf(
  spec: DecoderSpec,
  prediction: Prediction | undefined,
  count: number,
): Prediction | undefined {
  if (spec.bases === undefined) {
    if (prediction !== undefined) fail('prediction', 'the spec has no bases', 'none', 'some');
    return undefined;
  }
  if (prediction === undefined) fail('prediction', 'missing', 'one a label', 'none');
  const pairs = typed('prediction.pairs', prediction.pairs, 'Uint32Array', 2 * count);
  const weights = floats('prediction.weights', prediction.weights, count);
  const rows = spec.bases.length / spec.latent;
  const position = pairs.findIndex((row) => row >= rows);
  if (position >= 0) {
    fail(`prediction.pairs[${position}]`, 'no such row', `less than ${rows}`, pairs[position]);
  }
  return { pairs, weights };
}

function labelsOf(labels: LabelsArgs['labels']): {
  start: number;
  count: number;
  list: Uint32Array | undefined;
  last: number;
} {
  if (nameOf(labels) === 'Uint32Array') {
    const list = typed('labels', labels, 'Uint32Array');
    let last = 0;
    for (const label of list) if (label > last) last = label;
    return { start: 0, count: list.length, list, last };
  }
  if (typeof labels !== 'object' || labels === null || !('start' in labels)) {
    fail('labels', 'wrong type', '{start, count} or Uint32Array', nameOf(labels));
  }
  const start = size('labels.start', labels.start);
  const count = size('labels.count', labels.count);
  return { start, count, list: undefined, last: start + count - 1 };
}

function head(value: Head): void {
  const kind: unknown = value?.kind;
  if (kind === 'clamp' && 'eps' in value) positive('head.eps', value.eps);
  else if (kind === 'softmax' && 'tau' in value) positive('head.tau', value.tau);
  else if (kind !== 'identity') {
    fail(
      'head',
      'unknown head',
      '{kind: clamp, eps}, {kind: softmax, tau} or {kind: identity}',
      kind,
    );
  }
}

function oneOf(field: string, value: unknown, known: readonly string[]): void {
  if (value !== undefined && !(known as readonly unknown[]).includes(value)) {
    fail(field, `unknown ${field}`, known.join(', '), value);
  }
}

function codebookOf(value: unknown, width: number, bits?: number) {
  const codebook = floats('codebook', value);
  const levels = quotient('codebook', codebook.length, width, 'width');
  const most = bits === undefined ? MAX_LEVELS : 2 ** bits;
  if (levels < 1 || levels > most) {
    fail('codebook', 'wrong number of codewords', `1 to ${most}`, levels);
  }
  return { codebook, levels };
}

/** A float32 value above zero once rounded to float32, which is what the kernels compute in. */
function positive(field: string, value: unknown): void {
  const rounded = typeof value === 'number' ? Math.fround(value) : Number.NaN;
  if (!(rounded > 0 && rounded < Infinity)) {
    fail(field, 'must be positive', 'a finite number above 0', value);
  }
}

export function size(field: string, value: unknown, least = 0): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least) {
    fail(field, 'not a size', `an integer >= ${least}`, value);
  }
  return value;
}

function bitWidth(value: unknown): number {
  const bits = size('bits', value, 1);
  if (bits > 16) fail('bits', 'too wide', '1 to 16', bits);
  return bits;
}

export function threads(value: unknown): number {
  const count = size('threads', value ?? 0);
  if (count > MAX_THREADS) fail('threads', 'too many', `0 to ${MAX_THREADS}`, count);
  return count;
}

function flag(field: string, value: unknown): boolean {
  if (value !== undefined && typeof value !== 'boolean') {
    fail(field, 'wrong type', 'a boolean', nameOf(value));
  }
  return value ?? false;
}

function quotient(field: string, length: number, divisor: number, by: string): number {
  if (length % divisor !== 0) {
    fail(field, 'wrong size', `a multiple of ${by} = ${divisor}`, length);
  }
  return length / divisor;
}

interface TypedArrays {
  readonly Float32Array: Float32Array;
  readonly Int32Array: Int32Array;
  readonly Uint32Array: Uint32Array;
  readonly Uint16Array: Uint16Array;
  readonly Uint8Array: Uint8Array;
}

export function typed<Name extends keyof TypedArrays>(
  field: string,
  value: unknown,
  name: Name,
  length?: number,
): TypedArrays[Name] {
  if (!isTyped(value, name)) fail(field, 'wrong type', name, nameOf(value));
  if (length !== undefined && value.length !== length) {
    fail(field, 'wrong length', length, value.length);
  }
  return value;
}

function isTyped<Name extends keyof TypedArrays>(
  value: unknown,
  name: Name,
): value is TypedArrays[Name] {
  // A Buffer is a Uint8Array and says so here; so does an array from another realm.
  return ArrayBuffer.isView(value) && nameOf(value) === name;
}

export function floats(field: string, value: unknown, length?: number): Float32Array {
  return typed(field, value, 'Float32Array', length);
}

function labelArray(value: unknown, length: number): LabelArray {
  return nameOf(value) === 'Uint16Array'
    ? typed('out', value, 'Uint16Array', length)
    : typed('out', value, 'Float32Array', length);
}

function holdsBits(field: string, array: Uint8Array, bits: number): void {
  const bytes = Math.ceil(bits / 8);
  if (array.length < bytes) fail(field, 'too short', `at least ${bytes} bytes`, array.length);
}

/** What an encoder or decoder holds until it is disposed. */
export function present<T>(field: string, held: T | undefined): T {
  if (held === undefined) {
    throw new SoftpackError('INVALID_ARGUMENT', 'already disposed', { field });
  }
  return held;
}

/** Throws where an output shares bytes with an input: kernels read inputs again after writing. */
export function apart(
  field: string,
  out: ArrayBufferView,
  inputs: Record<string, ArrayBufferView>,
): void {
  for (const [name, input] of Object.entries(inputs)) {
    const overlaps =
      out.buffer === input.buffer &&
      out.byteOffset < input.byteOffset + input.byteLength &&
      input.byteOffset < out.byteOffset + out.byteLength;
    if (overlaps) fail(field, `overlaps ${name}`, 'separate memory', 'shared bytes');
  }
}

function nameOf(value: unknown): string {
  if (ArrayBuffer.isView(value)) return Object.prototype.toString.call(value).slice(8, -1);
  return value === null ? 'null' : typeof value;
}

export function fail(field: string, message: string, expected: unknown, found: unknown): never {
  throw new SoftpackError('INVALID_ARGUMENT', message, { field, expected, found });
}
