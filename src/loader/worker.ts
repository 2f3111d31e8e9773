import { move, transferableSymbol, valueSymbol, workerData } from 'piscina';
import { loadKernels } from '../native/index.js';
import { type BatchArrays, BatchMaker, type BatchSetup, type BatchTask } from './batch-task.js';

const maker = new BatchMaker(workerData as BatchSetup, loadKernels());

/**
 * One batch, in fresh buffers that change hands: TensorFlow.js may alias an array for as long as its tensor
 * lives, so no buffer is ever used twice.
 */
export function makeBatch(task: BatchTask): BatchArrays {
  const batch = maker.make(task);
  const moved = {
    [transferableSymbol]: [batch.xs.buffer, batch.ys.buffer],
    [valueSymbol]: batch,
  };
  return move(moved as unknown as Parameters<typeof move>[0]) as unknown as BatchArrays;
}
