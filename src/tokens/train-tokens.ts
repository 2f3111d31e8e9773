import { argumentChecker } from '../codecs/config.js';
import { throughFloat16 } from '../codecs/tensors.js';
import { STREAM } from '../core/philox.js';
import { RandomSequence } from '../core/random.js';
import { SoftpackError } from '../errors.js';
import { STAGE_CODES } from '../kernels/tokens.js';
import type { Kernels } from '../kernels/types.js';
import { checkTokenConfig, type TokenCodecConfig } from './config.js';
import { type ListedRows, listRows } from './listed-rows.js';
import { type CountedSource, changed } from './pack-sequences.js';
import { Renaming } from './renaming.js';
import { ResidualVq } from './residual-vq.js';
import { type LabelIds, TextCounts } from './text-code.js';
import { drawnByFrequency, textRanks } from './text-ranks.js';
import { TokenCodec, type TokenModel, valueVectors, vectorWidth } from './token-codec.js';
import type { TokenSource } from './token-source.js';

/** Labels that a codec learns from: 256 codewords a stage need few, renaming profits from more. */
export const TRAINING_LABELS = 32_768;

/** Memory for listed labels, at least: all that a codec learns from, but for hundreds of ids per label. */
const KEPT_BYTES = 2 ** 26;

export interface TrainedTokenCodec {
  readonly codec: TokenCodec;
  /** What the labels that it learnt from list, by number of sequence: the teacher need not be asked again. */
  readonly listed: Map<number, ListedRows>;
}

/** Learns how ids are renamed and, with `vq`, codebooks of the values, from sequences spread over the whole source. */
export async function trainTokenCodec(
  source: TokenSource,
  { sequences, labels }: CountedSource,
  config: TokenCodecConfig,
  kernels: Kernels,
  signal?: AbortSignal,
): Promise<TrainedTokenCodec> {
  checkTokenConfig(config, argumentChecker('tokens'));
  // Sequences are taken until they have their share of the labels so far: none is more than one behind.
  const share = Math.min(1, TRAINING_LABELS / labels);
  let [passed, taken] = [0, 0];
  const counts = new Float64Array(config.vocabulary);
  const texts = new TextCounts(config.vocabulary, textRanks(config));
  const tailSums = config.tail === 'prior' ? new Float64Array(config.vocabulary) : undefined;
  const vectors: Float32Array[] = [];
  const kept = new Map<number, ListedRows>();
  let [sequence, keptBytes] = [0, 0];
  for await (const own of source.sequences(signal)) {
    const wanted = taken <= share * passed;
    passed += own.rows;
    if (wanted && own.rows > 0) {
      taken += own.rows;
      const listed = await listRows(own, config.vocabulary, {
        ...config,
        ...{ sequence, tailSums, kernels },
      });
      count(listed, counts);
      texts.add(own.tokens ?? new Int32Array(), textIds(listed, config, own.first));
      if (keptBytes < KEPT_BYTES) kept.set(sequence, listed);
      keptBytes += bytesOf(listed);
      if (config.values === 'vq') vectors.push(valueVectors(listed, config));
    }
    sequence++;
  }
  if (sequence !== sequences) throw changed(sequences, sequence);
  const renaming = Renaming.byFrequency(counts);
  const values = config.values === 'vq' ? await learnValues(vectors, config, kernels) : {};
  const prior = tailSums === undefined ? {} : { prior: priorOf(tailSums) };
  const text = texts.code(renaming, placesKnown(config));
  const codec = new TokenCodec(config, { renaming, ...values, ...prior, text }, kernels);
  return { codec, listed: kept };
}

/** What a text is told by, as far as it is known before ids are renamed. */
function textIds(
  { rows, k, ids, samples }: ListedRows,
  config: TokenCodecConfig,
  first: number,
): LabelIds {
  if (k > 0) return { first, rows, width: k, ids: Int32Array.from(ids) };
  const width = config.samples;
  return { first, rows, width, ids: drawnByFrequency(samples, width) };
}

/** Entries whose order does not depend on names, or hardly: of draws that of those which are equally frequent does. */
function placesKnown({ k, values, ordered, samples }: TokenCodecConfig): number {
  if (k === 0) return samples;
  return values === 'vq' ? ordered : k;
}

function bytesOf({ counts, ids, logProbs, samples }: ListedRows): number {
  return counts.byteLength + ids.byteLength + logProbs.byteLength + samples.byteLength;
}

/** Ids that no tail has are as probable as one label's tail in all would make them. */
const UNSEEN = 1;

/** The mean tail of labels, as logarithms that float16 holds. */
function priorOf(sums: Float64Array): Float32Array {
  const each = UNSEEN / sums.length;
  const total = sums.reduce((sum, own) => sum + own + each, 0);
  const logs = Float32Array.from(sums, (own) => Math.log((own + each) / total));
  return throughFloat16('prior', logs);
}

function count({ rows, k, ids, counts, samples }: ListedRows, into: Float64Array): void {
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < counts[row]; i++) into[ids[row * k + i]]++;
  }
  for (const id of samples) into[id]++;
}

async function learnValues(
  parts: readonly Float32Array[],
  config: TokenCodecConfig,
  kernels: Kernels,
): Promise<Required<Pick<TokenModel, 'vq' | 'scale'>>> {
  const width = vectorWidth(config);
  const vectors = joined(parts, width);
  const rows = vectors.length / width;
  const scale = scaleOf(vectors, width);
  for (let i = 0; i < vectors.length; i++) vectors[i] *= scale[i % width];
  const random = new RandomSequence(config.seed, STREAM.training);
  const vq = await ResidualVq.train(vectors, width, config.stages, kernels, random);
  if (rows > 0) return { vq, scale };
  throw new TypeError('no vectors');
}

/** All vectors in one array; those of few labels are repeated until there are enough for a codebook. */
function joined(parts: readonly Float32Array[], width: number): Float32Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (length === 0) {
    const details = { field: 'labels', expected: 'at least 1', found: 0 };
    throw new SoftpackError('TOO_FEW_LABELS', 'no labels to train the codec on', details);
  }
  const least = STAGE_CODES * width;
  const repeats = Math.max(1, Math.ceil(least / length));
  const out = new Float32Array(length * repeats);
  for (let at = 0, i = 0; at < out.length; at += parts[i].length, i = (i + 1) % parts.length) {
    out.set(parts[i], at);
  }
  return out;
}

/** Square roots of mean probabilities: an error of a logarithm weighs as much as its probability. */
function scaleOf(vectors: Float32Array, width: number): Float32Array {
  const sums = new Float64Array(width);
  for (let i = 0; i < vectors.length; i++) sums[i % width] += Math.exp(vectors[i]);
  return Float32Array.from(sums, (sum) => Math.sqrt((sum * width) / vectors.length));
}
