import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';

it.each(['selectBackend', 'kdLoss', 'PackedLoss', 'tokenLoss', 'trainStep', 'asTfDataset'])(
  '%s warns once of a backend of plain JavaScript',
  async (way) => {
    const worker = new Worker(new URL('plain-backend.mjs', import.meta.url), { workerData: way });
    const [{ backend, warnings }] = await once(worker, 'message');
    await worker.terminate();
    expect(backend).toBe('cpu');
    expect(warnings).toEqual([
      {
        code: 'SOFTPACK_PLAIN_BACKEND',
        message: expect.stringContaining('await selectBackend()'),
      },
    ]);
  },
);
