import * as tf from '@tensorflow/tfjs';
import { describe, expect, it, vi } from 'vitest';
import { selectBackend, tensorflowStatus } from '#src/nn/backend/select.js';

describe('backends', () => {
  it('are each listed with a state and a reason', async () => {
    const statuses = await tensorflowStatus();
    expect(statuses.map(({ name }) => name)).toEqual(['tensorflow', 'wasm', 'cpu']);
    for (const { name, state, reason } of statuses) {
      expect(reason.length, name).toBeGreaterThan(10);
      if (name !== 'tensorflow') expect(state).toBe('ready');
      else if (state !== 'ready') expect(reason).toContain('softpack tensorflow install');
    }
  });

  it('auto takes native TensorFlow where it is ready, else wasm', async () => {
    const [native] = await tensorflowStatus();
    const { name } = await selectBackend();
    expect(name).toBe(native.state === 'ready' ? 'tensorflow' : 'wasm');
    expect(tf.getBackend()).toBe(name);
  });

  it('one that was asked for and is not ready is an error, not another one', async () => {
    const [native] = await tensorflowStatus();
    const selected = selectBackend({ backend: 'tensorflow' });
    if (native.state === 'ready') expect((await selected).name).toBe('tensorflow');
    else await expect(selected).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
  });

  it('can be changed, computes on the one selected, and warns once of plain JavaScript', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockReturnValue();
    for (const backend of ['wasm', 'cpu', 'wasm', 'cpu'] as const) {
      expect((await selectBackend({ backend })).name).toBe(backend);
      expect(tf.getBackend()).toBe(backend);
      const product = tf.tidy(() => tf.matMul(tf.ones([2, 3]), tf.ones([3, 2])));
      expect([...(await product.data())]).toEqual([3, 3, 3, 3]);
      product.dispose();
    }
    const codes = warned.mock.calls.map(([, options]) => (options as { code?: string }).code);
    expect(codes).toEqual(['SOFTPACK_PLAIN_BACKEND']);
    warned.mockRestore();
  });
});
