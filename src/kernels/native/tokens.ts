import { allocate } from '../../core/allocate.js';
import { STATUSES } from '../abi.js';
import {
  checkDecodeTokens,
  checkEncodeTokens,
  checkListTokens,
  invalidTokenCodes,
  invalidTokens,
} from '../check/tokens.js';
import {
  type DecodeTokensArgs,
  type EncodedTokens,
  type EncodeTokensArgs,
  type ListTokensArgs,
  type TokenLabelModel,
  tokenCapacity,
  tokenGroups,
} from '../tokens.js';
import { type NativeBackend, nativeFailure } from './backend.js';

export function decodeTokens(backend: NativeBackend, args: DecodeTokensArgs): void {
  const { model, bytes, position, begins, skip, labels, probabilities } = checkDecodeTokens(args);
  const { codebooks = null, scale = null } = model.values ?? {};
  const status = backend.coding.decodeTokens(
    model.ids,
    ...sizesOf(model),
    codebooks,
    scale,
    bytes,
    position,
    begins,
    skip,
    labels,
    probabilities,
  );
  if (status === STATUSES.invalidCodes) throw invalidTokenCodes();
  if (status !== STATUSES.ok) throw nativeFailure(backend, 'decodeTokens', status);
}

export function encodeTokens(backend: NativeBackend, args: EncodeTokensArgs): EncodedTokens {
  const { model, counts, ids, logProbs, indices, drawn, position, labels } =
    checkEncodeTokens(args);
  const bits = position + tokenCapacity(model, labels, sum(counts));
  const out = new Uint8Array(allocate(Math.ceil(bits / 8) + 16, 'labels'));
  const begins = new Uint32Array(Math.max(tokenGroups(labels) - 1, 0));
  const length = new Uint32Array(1);
  const status = backend.coding.encodeTokens(
    model.names,
    ...sizesOf(model),
    counts,
    ids,
    logProbs ?? null,
    indices ?? null,
    drawn,
    out,
    position,
    begins,
    length,
  );
  if (status === STATUSES.invalidArgument) throw invalidTokens();
  if (status !== STATUSES.ok) throw nativeFailure(backend, 'encodeTokens', status);
  return { bytes: out.slice(0, Math.ceil((position + length[0]) / 8)), begins };
}

export function listTokens(backend: NativeBackend, args: ListTokensArgs): number {
  const { logits, width, vocabulary, k, samples, uniforms, ids, drawn, sums } =
    checkListTokens(args);
  const listed = new Uint32Array(1);
  const status = backend.coding.listTokens(
    ...([logits, width, vocabulary, k, samples] as const),
    ...([uniforms, ids, drawn, sums, listed] as const),
  );
  if (status !== STATUSES.ok) throw nativeFailure(backend, 'listTokens', status);
  return listed[0];
}

function sizesOf({ k, samples, counted = false, values }: TokenLabelModel) {
  return [k, samples, values?.ordered ?? 0, values?.stages ?? 0, counted] as const;
}

function sum(counts: Uint32Array): number {
  return counts.reduce((total, count) => total + count, 0);
}
