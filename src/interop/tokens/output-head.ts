import { allocate } from '../../core/allocate.js';
import { invalidFile, SoftpackError } from '../../errors.js';
import { FLOAT_BYTES, floatsOf } from '../../labels/elements.js';
import { locateArray } from '../../labels/stored-array.js';
import { openLocalFile } from '../../store/local.js';
import { checkHead, type OutputHead } from '../../tokens/hidden/output-head.js';

/**
 * Reads a teacher's output matrix, .npy or .safetensors, [ids, dimensions]: `lm_head.weight`, or the table of embeddings
 * that it is tied to.
 *
 * @param vocabulary ids of the tokenizer; rows behind them only pad the matrix. Default: all rows.
 */
export async function readOutputHead(
  path: string,
  { tensor, vocabulary }: { readonly tensor?: string; readonly vocabulary?: number } = {},
): Promise<OutputHead> {
  const { shape, values } = await readMatrix(path, tensor, 2, vocabulary);
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

/** The weights of a norm, [dimensions]. */
export async function readNorm(path: string, tensor?: string): Promise<Float32Array> {
  return (await readMatrix(path, tensor, 1)).values;
}

/** @param rows first rows to read, if there are more. */
async function readMatrix(path: string, tensor: string | undefined, rank: number, rows?: number) {
  const file = await openLocalFile(path);
  try {
    const array = await locateArray(file, tensor);
    const { shape, dtype, bigEndian, fortranOrder, dataOffset, field } = array;
    if (shape.length !== rank || shape.includes(0) || (fortranOrder && rank > 1)) {
      throw invalidFile(path, field, 'not an array of weights', {
        expected: rank === 1 ? '[dimensions]' : '[ids, dimensions] in C order',
        found: `[${shape.join(', ')}]${fortranOrder ? ' in Fortran order' : ''}`,
      });
    }
    const elements = Math.min(rows ?? shape[0], shape[0]) * (rank === 1 ? 1 : shape[1]);
    const bytes = new Uint8Array(allocate(elements * FLOAT_BYTES[dtype], field));
    await array.file.read(dataOffset, bytes);
    return { shape, values: floatsOf(bytes, dtype, bigEndian) };
  } finally {
    await file.close();
  }
}
