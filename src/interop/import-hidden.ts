import { argument } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import type { OutputHead } from '../tokens/hidden/output-head.js';
import type { TokenSource } from '../tokens/token-source.js';
import type { OpenedTokens } from './open-tokens.js';
import { normed } from './tokens/normed.js';
import { readNorm, readOutputHead } from './tokens/output-head.js';

/** What labels of hidden states need besides their files. */
export interface ImportHiddenOptions {
  /** File of the teacher's output matrix, .npy or .safetensors, [ids, dimensions]. */
  readonly head?: string;
  /** Which tensor of it, e.g. `lm_head.weight`. */
  readonly headTensor?: string;
  /** Codec `hidden`: stores the output matrix in the archive. Default: only its sha256. */
  readonly storeHead?: boolean;
  /** File of the weights of the teacher's last norm, for states from before it (vLLM's). */
  readonly norm?: string;
  readonly normTensor?: string;
  /** Of the norm. Default: 1e-5. */
  readonly normEps?: number;
  /** Codec `hidden`: mean KL that is aimed at. Default: 0.005. */
  readonly kl?: number;
  /** Codec `hidden`: most ids of a label whose logits are corrected. Default: 16; 0 for none. */
  readonly exact?: number;
}

/** Hidden states behind the teacher's last norm, and the matrix that makes logits of them. */
export interface TeacherStates {
  readonly source: TokenSource;
  readonly head: OutputHead;
}

/** @throws `INVALID_ARGUMENT` naming `head` or `norm` if the options do not tell where it is. */
export async function teacherStates(
  labels: OpenedTokens,
  { head: path, headTensor: tensor, norm, normTensor, normEps = 1e-5 }: ImportHiddenOptions,
): Promise<TeacherStates> {
  if (path === undefined) {
    throw missing('head', "a file of the teacher's output matrix, which tells what errors matter");
  }
  if (labels.layout === 'vllm-hidden' && norm === undefined) {
    throw missing('norm', "the weights of the teacher's last norm: vLLM's states are before it");
  }
  argument.number(normEps, 'normEps', 0, 1);
  const head = await readOutputHead(path, { tensor, vocabulary: labels.vocabulary });
  if (norm === undefined) return { source: labels, head };
  const weights = await readNorm(norm, normTensor);
  return { source: normed(labels, { weights, eps: normEps }), head };
}

function missing(field: string, expected: string): SoftpackError {
  const details = { field, expected, found: 'none' };
  return new SoftpackError(
    'INVALID_ARGUMENT',
    'hidden states cannot be stored without it',
    details,
  );
}
