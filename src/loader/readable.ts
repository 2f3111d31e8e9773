import { Readable } from 'node:stream';
import type { Batch } from './options.js';

/** No batch is pulled before it is asked for, so that the loader's state counts what the reader has. */
export function batchStream(batches: AsyncIterable<Batch>): Readable {
  const iterator = batches[Symbol.asyncIterator]();
  return new Readable({
    objectMode: true,
    highWaterMark: 0,
    read() {
      iterator.next().then(
        ({ done, value }) => this.push(done ? null : value),
        (error: Error) => this.destroy(error),
      );
    },
    destroy(error, callback) {
      Promise.resolve(iterator.return?.()).then(
        () => callback(error),
        (failure: Error) => callback(error ?? failure),
      );
    },
  });
}
