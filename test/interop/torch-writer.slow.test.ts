import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { exportLabels } from '#src/interop/export.js';
import { importLabels } from '#src/interop/import.js';
import { openTorchFile } from '#src/interop/torch/open.js';
import { torchFileOf } from '#src/interop/torch/write.js';
import { temporaryDirectory } from '../temporary.js';
import { expectedOf, plain, sample } from './fixture.js';

const temporary = await temporaryDirectory();
/** A Python with torch: `SOFTPACK_PYTHON`, or `python3`. */
const python = process.env.SOFTPACK_PYTHON ?? 'python3';
const found = spawnSync(python, ['-c', 'import torch']);
const missing = found.status !== 0;
const reason = `${python} has no torch; name a Python that has by SOFTPACK_PYTHON`;

const SCRIPT = `
import json, sys, torch
def listed(v):
    if isinstance(v, torch.Tensor): return v.double().tolist() if v.is_floating_point() else v.tolist()
    if isinstance(v, list): return [listed(x) for x in v]
    if isinstance(v, dict): return {k: listed(x) for k, x in v.items()}
    return v
print(json.dumps(listed(torch.load(sys.argv[1], weights_only=True))))
`;

test('torch.load with weights_only=True reads what is written', async ({ skip }) => {
  skip(missing, reason);
  const bytes = (array: ArrayBufferView) => new Uint8Array(array.buffer);
  const value = [
    { dtype: 'F32', shape: [2, 3], data: bytes(Float32Array.of(0, 0.5, -1, 2, 3, 1e-3)) },
    { dtype: 'F16', shape: [2], data: bytes(Uint16Array.of(0x3c00, 0xbc00)) },
    { dtype: 'BOOL', shape: [2], data: Uint8Array.of(1, 0) },
    { dtype: 'I64', shape: [], data: bytes(BigInt64Array.of(-7n)) },
    ...[null, true, { float: 0.25 }, [1, -2, 300, 2 ** 40], 'text'],
    new Map([['key', [3]]]),
  ] as const;
  const path = await temporary.file('written.tar', torchFileOf(value));
  const read = JSON.parse(execFileSync(python, ['-c', SCRIPT, path], { encoding: 'utf8' }));
  await using file = await openTorchFile(path);
  expect(read).toEqual(await plain(file, file.root));
  expect(read.slice(1)).toEqual([
    ...[[1, -1], [true, false], -7, null, true, 0.25, [1, -2, 300, 2 ** 40], 'text', { key: [3] }],
  ]);
});

test('torch.load with weights_only=True reads exports', async ({ skip }) => {
  skip(missing, reason);
  const out = temporary.path('archive');
  const images = sample('images');
  await importLabels({ source: sample('sre2l-cutmix'), images, size: [12, 12], out });
  const folder = temporary.path('relabel');
  await exportLabels({ source: out, to: 'sre2l', out: folder });
  for (const batch of expectedOf('sre2l-cutmix').batches.slice(1, 3)) {
    const path = join(folder, `epoch_${batch.epoch}`, `batch_${batch.batch}.tar`);
    const read = JSON.parse(execFileSync(python, ['-c', SCRIPT, path], { encoding: 'utf8' }));
    expect(read[0]).toEqual(batch.coords);
    expect(read[2]).toEqual(batch.mix_index);
    expect(read[4]).toEqual(batch.mix_bbox);
    expect(read[5]).toEqual(batch.logits);
  }
});
