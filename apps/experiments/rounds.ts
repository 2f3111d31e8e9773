import { setTimeout as sleep } from 'node:timers/promises';
import { throwIfAborted } from '#src/errors.js';
import { BusyStep } from './workspace.js';

/** Milliseconds between attempts at steps that other processes are computing. */
const RETRY_AFTER = 2000;

/** Works on all items in turn; those whose steps another process is computing come later. */
export async function inRounds<T>(
  items: readonly T[],
  work: (item: T) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  let waiting = items;
  while (waiting.length > 0) {
    const busy: T[] = [];
    for (const item of waiting) {
      try {
        await work(item);
      } catch (error) {
        if (!(error instanceof BusyStep)) throw error;
        busy.push(item);
      }
    }
    if (busy.length === waiting.length) await pause(signal);
    waiting = busy;
  }
}

async function pause(signal: AbortSignal): Promise<void> {
  await sleep(RETRY_AFTER, undefined, { signal }).catch(() => throwIfAborted(signal));
}
