import { move, transferableSymbol, valueSymbol } from 'piscina';
import { type ErrorData, errorToData } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import { type BatchArrays, BatchMaker, type BatchSetup, type BatchTask } from './batch-maker.js';

/** One batch of one loader, for a thread that may serve several. */
export interface WorkerRequest {
  readonly setupId: string;
  /** Sent again to a thread that replies `setup-missing`. */
  readonly setup?: BatchSetup;
  /** Loaders that are still open: the thread forgets all others. */
  readonly open: readonly string[];
  /** Absent from a request that only makes the thread forget. */
  readonly task?: BatchTask;
}

export type WorkerReply =
  | { readonly kind: 'batch'; readonly batch: BatchArrays }
  | { readonly kind: 'setup-missing' }
  | { readonly kind: 'nothing' }
  /** The work itself failed; the thread is fine. */
  | { readonly kind: 'failed'; readonly error: ErrorData };

const makers = new Map<string, Promise<BatchMaker>>();

/**
 * Batches are made in fresh buffers that change hands: TensorFlow.js may alias an array for as long as its tensor
 * lives, so no buffer is reused unless the caller asked for slots.
 */
export async function serve(request: WorkerRequest): Promise<WorkerReply> {
  const { setupId, setup, open, task } = request;
  try {
    forgetOthers(open);
    if (task === undefined) return { kind: 'nothing' };
    if (setup !== undefined && !makers.has(setupId)) {
      makers.set(setupId, BatchMaker.create(setup, loadKernels()));
    }
    const maker = makers.get(setupId);
    if (maker === undefined) return { kind: 'setup-missing' };
    return moved(await (await maker).make(task), task);
  } catch (error) {
    return { kind: 'failed', error: errorToData(error) };
  }
}

function forgetOthers(open: readonly string[]): void {
  for (const [id, maker] of makers) {
    if (open.includes(id)) continue;
    makers.delete(id);
    maker.then(
      (made) => made[Symbol.dispose](),
      () => undefined, // It was reported to whoever asked for the batch.
    );
  }
}

function moved(batch: BatchArrays, { into }: BatchTask): WorkerReply {
  // The caller's slot is filled: only the timing is sent back.
  const empty = new Float32Array(0);
  const sent = into === undefined ? batch : { xs: empty, ys: empty, timing: batch.timing };
  const reply = {
    [transferableSymbol]: [sent.xs.buffer, sent.ys.buffer].filter(
      (buffer, i, all) => all.indexOf(buffer) === i,
    ),
    [valueSymbol]: { kind: 'batch', batch: sent },
  };
  return move(reply as unknown as Parameters<typeof move>[0]) as unknown as WorkerReply;
}
