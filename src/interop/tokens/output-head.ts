import { allocate } from '../../core/allocate.js';
import { SoftpackError } from '../../errors.js';
import { FLOAT_BYTES, floatsOf } from '../../labels/elements.js';
import { inCOrder } from '../../labels/fortran-order.js';
import { locateArray } from '../../labels/stored-array.js';
import type { ByteFile } from '../../store/byte-store.js';
import { openLocalFile } from '../../store/local.js';
import { checkHead, type OutputHead } from '../../tokens/hidden/output-head.js';
import { type Gguf, isGguf, readGguf } from './gguf.js';

/**
 * Reads a teacher's output matrix, [ids, dimensions], of a .npy, .safetensors or .gguf file: `lm_head.weight`, or the table
 * of embeddings that it is tied to. A GGUF model's is found by itself.
 *
 * @param vocabulary ids of the tokenizer; rows behind them only pad the matrix. Default: all rows.
 * @throws `UNSUPPORTED` for GGUF models whose logits are scaled, capped or shifted.
 */
export async function readOutputHead(
  path: string,
  { tensor, vocabulary }: { readonly tensor?: string; readonly vocabulary?: number } = {},
): Promise<OutputHead> {
  const { shape, values } = await readWeights(path, 2, vocabulary, tensor, (gguf) => {
    requirePlainLogits(path, gguf);
    return gguf.has('output.weight') ? 'output.weight' : 'token_embd.weight';
  });
  const [rows, width] = shape;
  if (rows >= (vocabulary ?? rows)) {
    return checkHead({ vocabulary: vocabulary ?? rows, width, weights: values });
  }
  throw new SoftpackError('INVALID_ARGUMENT', 'output matrix has fewer ids', {
    field: 'vocabulary',
    expected: `at most ${rows}, the rows of ${path}`,
    found: vocabulary,
  });
}

/** The weights of an RMSNorm, [dimensions]; a GGUF model's last one is found by itself. */
export async function readNorm(path: string, tensor?: string): Promise<Float32Array> {
  const read = await readWeights(path, 1, undefined, tensor, (gguf) => {
    if (gguf.has('output_norm.bias')) throw changedBy(path, 'output_norm.bias', 'a tensor');
    return 'output_norm.weight';
  });
  return read.values;
}

/** Facts of a model whose logits are not the product of matrix and state. */
const CHANGED_LOGITS = ['final_logit_softcapping', 'logit_scale'];

function requirePlainLogits(path: string, gguf: Gguf): void {
  const changed = CHANGED_LOGITS.map((name) => `${gguf.architecture}.${name}`).find(
    (name) => ![undefined, 0, 1].includes(gguf.fact(name)),
  );
  if (changed !== undefined) throw changedBy(path, changed, gguf.fact(changed));
  if (gguf.has('output.bias')) throw changedBy(path, 'output.bias', 'a tensor');
}

function changedBy(path: string, what: string, found: unknown): SoftpackError {
  const message = 'logits are more than a product of matrix and state behind an RMSNorm';
  const expected = 'a model without it, or a codec of probabilities';
  const field = `${path}: ${what}`;
  return new SoftpackError('UNSUPPORTED', message, { field, expected, found });
}

/** @param rows first rows to read, if there are more. @param named which tensor of a GGUF model is meant by none. */
async function readWeights(
  path: string,
  rank: number,
  rows: number | undefined,
  tensor: string | undefined,
  named: (gguf: Gguf) => string,
) {
  const file = await openLocalFile(path);
  try {
    const start = new Uint8Array(Math.min(4, file.size));
    await file.read(0, start);
    if (!isGguf(start)) return await readMatrix(file, tensor, rank, rows);
    const gguf = await readGguf(file);
    const meant = named(gguf);
    const name = tensor ?? meant;
    const shape = gguf.shape(name);
    if (shape.length !== rank) throw notWeights(`${path}: tensor ${name}`, rank, shape);
    return await gguf.tensor(name, rows);
  } finally {
    await file.close();
  }
}

async function readMatrix(
  file: ByteFile,
  tensor: string | undefined,
  rank: number,
  rows: number | undefined,
) {
  const stored = await locateArray(file, tensor);
  const { shape, field } = stored;
  if (shape.length !== rank || shape.includes(0)) throw notWeights(field, rank, shape);
  const array = await inCOrder(stored);
  const elements = Math.min(rows ?? shape[0], shape[0]) * (rank === 1 ? 1 : shape[1]);
  const bytes = new Uint8Array(allocate(elements * FLOAT_BYTES[array.dtype], field));
  await array.file.read(array.dataOffset, bytes);
  return { shape, values: floatsOf(bytes, array.dtype, array.bigEndian) };
}

function notWeights(field: string, rank: number, shape: readonly number[]): SoftpackError {
  return new SoftpackError('INVALID_FILE', 'not an array of weights', {
    field,
    expected: rank === 1 ? '[dimensions]' : '[ids, dimensions]',
    found: `[${shape.join(', ')}]`,
  });
}
