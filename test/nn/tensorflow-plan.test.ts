import { describe, expect, it } from 'vitest';
import { installTensorflow, uninstallTensorflow } from '#src/nn/tensorflow-install/install.js';
import { isNeeded, requirementsOfExtra, tensorflowPlan } from '#src/nn/tensorflow-install/plan.js';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();
const LINUX = { os: 'linux', cpu: 'x64', glibc: '2.36' };

describe('the plan of a TensorFlow installation', () => {
  it('names the wheel with CUDA kernels and its driver for gpu only', () => {
    expect(tensorflowPlan('gpu', LINUX).requirement).toMatch(/^tensorflow==/);
    expect(tensorflowPlan('gpu', LINUX).driver).toContain('525.60.13');
    expect(tensorflowPlan('cpu', LINUX).driver).toBeUndefined();
  });

  it.each([
    { os: 'darwin', cpu: 'arm64', glibc: undefined },
    { os: 'linux', cpu: 'arm64', glibc: '2.36' },
    { os: 'linux', cpu: 'x64', glibc: undefined },
    { os: 'linux', cpu: 'x64', glibc: '2.17' },
  ])('refuses $os $cpu with glibc $glibc', (platform) => {
    expect(() => tensorflowPlan('cpu', platform)).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED' }),
    );
  });

  it('takes the libraries of an extra from the metadata', () => {
    const metadata = [
      'Requires-Dist: numpy>=1.26.0',
      'Requires-Dist: nvidia-cublas-cu12<13.0,>=12.5.3.2; extra == "and-cuda"',
      'Requires-Dist: tensorboard~=2.20.0; extra == "other"',
      'Requires-Dist: nvidia-cudnn-cu12 (<10.0,>=9.3) ; extra == "and-cuda"',
    ].join('\n');
    expect(requirementsOfExtra(metadata, 'and-cuda')).toEqual([
      'nvidia-cublas-cu12<13.0,>=12.5.3.2',
      'nvidia-cudnn-cu12<10.0,>=9.3',
    ]);
  });

  it('unpacks libraries and C headers only', () => {
    expect(isNeeded('tensorflow/libtensorflow_cc.so.2')).toBe(true);
    expect(isNeeded('tensorflow/include/tensorflow/c/c_api.h')).toBe(true);
    expect(isNeeded('nvidia/cudnn/lib/libcudnn.so.9')).toBe(true);
    expect(isNeeded('tensorflow/python/_pywrap_tensorflow_common.so')).toBe(false);
    expect(isNeeded('tensorflow/include/tensorflow/c/')).toBe(false);
  });
});

describe('installing', () => {
  it('refuses a folder that holds something else, and so does uninstalling', async () => {
    await temporary.file('mine', 'kept');
    const dir = temporary.path('.');
    await expect(installTensorflow({ dir })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    await expect(uninstallTensorflow(dir)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
  });

  it('says which tool is missing before it fetches anything', async () => {
    process.env.PYTHON = '/nonexistent';
    try {
      const installing = installTensorflow({ dir: temporary.path('new') });
      await expect(installing).rejects.toMatchObject({ code: 'TOOL_MISSING', field: 'python' });
    } finally {
      delete process.env.PYTHON;
    }
  });
});
