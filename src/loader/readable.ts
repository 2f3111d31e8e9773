import { Readable } from 'node:stream';
import { asError } from '../errors.js';
import type { Batch } from './options.js';

/** Stream that pulls no batch before it is asked for, so that the loader's state counts what the reader has. */
export function batchStream(batches: AsyncIterable<Batch>): Readable {
  const iterator = batches[Symbol.asyncIterator]();
  return new Readable({
    objectMode: true,
    highWaterMark: 0,
    read() {
      iterator.next().then(
        ({ done, value }) => this.push(done ? null : value),
        (error: unknown) => this.destroy(asError(error)),
      );
    },
    destroy(error, callback) {
      Promise.resolve(iterator.return?.()).then(
        () => callback(error),
        (failure: unknown) => callback(error ?? asError(failure)),
      );
    },
  });
}
