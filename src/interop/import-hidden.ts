import { argument } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import { type PackHiddenResult, packHidden } from '../tokens/hidden/pack-hidden.js';
import type { OpenedTokens } from './open-tokens.js';
import { normed } from './tokens/normed.js';
import { readNorm, readOutputHead } from './tokens/output-head.js';

/** What storing hidden states needs besides their files. */
export interface ImportHiddenOptions {
  /** File of the teacher's output matrix, .npy or .safetensors, [ids, dimensions]. */
  readonly head?: string;
  /** Which tensor of it, e.g. `lm_head.weight`. */
  readonly headTensor?: string;
  /** Stores the output matrix in the archive. Default: only its sha256. */
  readonly storeHead?: boolean;
  /** File of the weights of the teacher's last norm, for states from before it (vLLM's). */
  readonly norm?: string;
  readonly normTensor?: string;
  /** Of the norm. Default: 1e-5. */
  readonly normEps?: number;
  /** Mean KL that is aimed at. Default: 0.005. */
  readonly kl?: number;
  /** Most ids of a label whose logits are corrected. Default: 16; 0 for none. */
  readonly exact?: number;
}

interface Target {
  readonly out: string;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export async function importHidden(
  labels: OpenedTokens,
  options: ImportHiddenOptions & Target,
): Promise<PackHiddenResult> {
  const { head: path, headTensor: tensor, norm, normEps = 1e-5 } = options;
  const { kl, exact, storeHead } = options;
  const { vocabulary, layout } = labels;
  if (path === undefined) {
    throw missing('head', "a file of the teacher's output matrix, which tells what errors matter");
  }
  if (layout === 'vllm-hidden' && norm === undefined) {
    throw missing('norm', "the weights of the teacher's last norm: vLLM's states are before it");
  }
  argument.number(normEps, 'normEps', 0, 1);
  const head = await readOutputHead(path, { tensor, vocabulary });
  const weights = norm === undefined ? undefined : await readNorm(norm, options.normTensor);
  const { out, onProgress, signal } = options;
  return await packHidden({
    ...{ head, out, kl, exact, storeHead, onProgress, signal },
    source: weights === undefined ? labels : normed(labels, { weights, eps: normEps }),
    teacher: { imported: { layout } },
  });
}

function missing(field: string, expected: string): SoftpackError {
  const details = { field, expected, found: 'none' };
  return new SoftpackError(
    'INVALID_ARGUMENT',
    'hidden states cannot be stored without it',
    details,
  );
}
