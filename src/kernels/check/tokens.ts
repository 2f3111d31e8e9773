import { apart, floats, typedArray } from '../../core/arrays.js';
import { argument } from '../../core/check.js';
import { SoftpackError } from '../../errors.js';
import {
  type DecodeTokensArgs,
  type EncodeTokensArgs,
  type ListTokensArgs,
  STAGE_CODES,
  TOKEN_GROUP,
  TOKEN_LIMITS,
  type TokenLabelModel,
  tokenGroups,
  valueWidth,
} from '../tokens.js';
import { given } from './sizes.js';

export function checkDecodeTokens(args: DecodeTokensArgs): DecodeTokensArgs {
  const model = checkModel(given(args).model);
  const width = model.k + model.samples;
  const bytes = typedArray('bytes', args.bytes, 'Uint8Array');
  const position = argument.count(args.position, 'position', 0);
  const skip = argument.count(args.skip, 'skip', 0, TOKEN_GROUP - 1);
  const labels = typedArray('labels', args.labels, 'Int32Array');
  const whole = labels.length % width === 0;
  argument.that(whole, labels.length, 'labels', `a multiple of k + samples = ${width}`);
  const groups = labels.length === 0 ? 0 : tokenGroups(skip + labels.length / width);
  const begins = typedArray('begins', args.begins, 'Uint32Array', groups);
  const probabilities = floats('probabilities', args.probabilities, labels.length);
  apart('labels', labels, { bytes, begins, ids: model.ids });
  apart('probabilities', probabilities, { bytes, begins, ids: model.ids, labels });
  return { model, bytes, position, begins, skip, labels, probabilities };
}

export interface CheckedEncodeTokens extends EncodeTokensArgs {
  readonly labels: number;
}

export function checkEncodeTokens(args: EncodeTokensArgs): CheckedEncodeTokens {
  const model = checkModel(given(args).model);
  const counts = typedArray('counts', args.counts, 'Uint32Array');
  const labels = counts.length;
  if (counts.some((count) => count > model.k)) throw invalidTokens();
  const ids = typedArray('ids', args.ids, 'Uint32Array', labels * model.k);
  const drawn = typedArray('drawn', args.drawn, 'Uint32Array', labels * model.samples);
  const position = argument.count(args.position, 'position', 0);
  const checked = { model, counts, ids, drawn, position, labels };
  if (model.values === undefined) {
    return { ...checked, logProbs: floats('logProbs', args.logProbs, labels * model.k) };
  }
  const { stages } = model.values;
  return {
    ...checked,
    indices: typedArray('indices', args.indices, 'Uint16Array', labels * stages),
  };
}

export function checkListTokens(args: ListTokensArgs): ListTokensArgs {
  const { width, vocabulary, k, samples } = given(args);
  argument.count(width, 'width', 1);
  argument.count(vocabulary, 'vocabulary', 1, Math.min(width, TOKEN_LIMITS.vocabulary));
  argument.count(k, 'k', 0, Math.min(TOKEN_LIMITS.k, vocabulary));
  argument.count(samples, 'samples', 0, TOKEN_LIMITS.samples);
  const logits = floats('logits', args.logits);
  const rows = logits.length / width;
  argument.that(Number.isInteger(rows), logits.length, 'logits', `a multiple of width = ${width}`);
  const uniforms = typedArray('uniforms', args.uniforms, 'Float64Array', rows * samples);
  const ids = typedArray('ids', args.ids, 'Uint32Array', rows * k);
  const drawn = typedArray('drawn', args.drawn, 'Uint32Array', rows * samples);
  const sums = typedArray('sums', args.sums, 'Float64Array', rows);
  apart('ids', ids, { logits, uniforms });
  apart('drawn', drawn, { logits, uniforms, ids });
  apart('sums', sums, { logits, uniforms, ids, drawn });
  return { logits, width, vocabulary, k, samples, uniforms, ids, drawn, sums };
}

function checkModel(model: TokenLabelModel): TokenLabelModel {
  const { k, samples, counted = false, values } = given(model);
  const ids = typedArray('ids', model.ids, 'Uint32Array');
  argument.count(ids.length, 'ids', 1, TOKEN_LIMITS.vocabulary);
  const names = typedArray('names', model.names, 'Uint32Array', ids.length);
  argument.count(k, 'k', 0, Math.min(TOKEN_LIMITS.k, ids.length));
  argument.count(samples, 'samples', k === 0 ? 1 : 0, TOKEN_LIMITS.samples);
  argument.that(typeof counted === 'boolean', counted, 'counted', 'true or false');
  const common = { k, samples, counted, ids, names };
  if (values === undefined) return common;
  const { ordered, stages } = values;
  argument.count(ordered, 'ordered', 1, Math.min(TOKEN_LIMITS.ordered, k));
  argument.count(stages, 'stages', 1, TOKEN_LIMITS.stages);
  const width = valueWidth(k, ordered);
  const codebooks = floats('codebooks', values.codebooks, stages * STAGE_CODES * width);
  const scale = floats('scale', values.scale, width);
  return { ...common, values: { ordered, stages, codebooks, scale } };
}

/** The error of labels that cannot be written. */
export function invalidTokens(): SoftpackError {
  return new SoftpackError('INVALID_ARGUMENT', 'not labels of this model', {
    field: 'ids',
    expected:
      'at most k different ids below the vocabulary (with codebooks: k), in less than 2^32 bits',
  });
}

/** The error of bytes that no encoder writes. */
export function invalidTokenCodes(): SoftpackError {
  return new SoftpackError('INVALID_ARGUMENT', 'damaged codes: not labels of this model', {
    field: 'codes',
    expected: 'whole labels, log-probabilities of at most 0',
  });
}
