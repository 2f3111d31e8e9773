import { execFileSync, spawnSync } from 'node:child_process';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openTorchFile } from '#src/container/torch/open.js';
import { torchFileOf } from '#src/container/torch/write.js';
import { exportLabels } from '#src/interop/export.js';
import { importLabels } from '#src/interop/import.js';
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
print(json.dumps([listed(torch.load(path, weights_only=True)) for path in sys.argv[1:]]))
`;

/** What torch.load with weights_only=True gives for these files, tensors as lists. */
function loaded(...paths: string[]) {
  return JSON.parse(execFileSync(python, ['-c', SCRIPT, ...paths], { encoding: 'utf8' }));
}

test('torch.load with weights_only=True reads what is written', async ({ skip }) => {
  skip(missing, reason);
  const bytes = (array: ArrayBufferView) => new Uint8Array(array.buffer);
  const value = [
    { dtype: 'F32', shape: [2, 3], data: bytes(Float32Array.of(0, 0.5, -1, 2, 3, 1e-3)) },
    { dtype: 'F16', shape: [2], data: bytes(Uint16Array.of(0x3c00, 0xbc00)) },
    { dtype: 'BOOL', shape: [2], data: Uint8Array.of(1, 0) },
    { dtype: 'I64', shape: [], data: bytes(BigInt64Array.of(-7n)) },
    { dtype: 'U16', shape: [2], data: bytes(Uint16Array.of(1, 65535)) },
    ...[null, true, { float: 0.25 }, [1, -2, 300, 2 ** 40], 'text'],
    new Map([['key', [3]]]),
  ] as const;
  const path = await temporary.file('written.tar', torchFileOf(value));
  const [read] = loaded(path);
  await using file = await openTorchFile(path);
  expect(read).toEqual(await plain(file, file.root));
  expect(read.slice(1)).toEqual([
    ...[
      [1, -1],
      [true, false],
      -7,
      [1, 65535],
      null,
      true,
      0.25,
      [1, -2, 300, 2 ** 40],
      'text',
      { key: [3] },
    ],
  ]);
});

test('torch.load with weights_only=True reads exports', async ({ skip }) => {
  skip(missing, reason);
  const out = temporary.path('archive');
  const images = sample('images');
  await importLabels({ source: sample('sre2l-cutmix'), images, size: [12, 12], out });
  const folder = temporary.path('relabel');
  await exportLabels({ source: out, to: 'sre2l', out: folder });
  const batches: { [name: string]: unknown }[] = expectedOf('sre2l-cutmix').batches;
  const paths = batches.map(({ epoch, batch }) => join(`epoch_${epoch}`, `batch_${batch}.tar`));
  const read = loaded(...paths.map((path) => join(folder, path)));
  for (const [i, batch] of batches.entries()) {
    const [coords, flip, mix_index, , mix_bbox, logits] = read[i];
    expect(batch).toMatchObject({ coords, flip, mix_index, mix_bbox, logits });
  }
});

test('torch.load with weights_only=True reads exports to FKD', async ({ skip }) => {
  skip(missing, reason);
  for (const [name, error] of [
    ['fkd-k5-half', 0],
    ['fkd-k5', 2 ** -11],
  ] as const) {
    const { files } = expectedOf(name);
    const images = temporary.path(`images-of-${name}`);
    for (const { file } of files) {
      const image = file.replace('.tar', '.png');
      await cp(sample('images', image), join(images, image));
    }
    const [out, folder] = [temporary.path(`archive-${name}`), temporary.path(name)];
    const source = sample(name);
    await importLabels({ source, images, size: [12, 12], classes: 7, out });
    await exportLabels({ source: out, to: 'fkd', images, top: 5, out: folder });
    const all = loaded(...files.map(({ file }: { file: string }) => join(folder, file)));
    for (const [f, { coords, flip, labels }] of files.entries()) {
      const read = all[f];
      expect(read.slice(0, 2)).toEqual([coords, flip]);
      for (const [crop, [ids, values]] of labels.entries()) {
        const [foundIds, foundValues] = read[2][crop];
        expect([...foundIds].sort()).toEqual([...ids].sort());
        for (const [i, id] of ids.entries()) {
          const found = foundValues[foundIds.indexOf(id)];
          expect(Math.abs(found - values[i])).toBeLessThanOrEqual(error * values[i]);
        }
      }
    }
  }
});

/** What TinyViT's reader does: line n of the keys names record n of the values, of one rank after the other. */
const TINYVIT = `
import json, os, sys
import numpy as np
folder, k = sys.argv[1], int(sys.argv[2])
record = np.dtype([('seed', '<i4'), ('classes', '<i2', k), ('values', '<f2', k)])
found = {}
for name in sorted(os.listdir(folder)):
    if name.endswith('-keys.txt'):
        keys = open(os.path.join(folder, name)).read().splitlines()
        path = os.path.join(folder, name.replace('-keys.txt', '-values.bin'))
        assert os.path.getsize(path) == len(keys) * record.itemsize
        values = np.memmap(path, record, 'r')
        for n, key in enumerate(keys):
            one = values[n]
            found[key] = [int(one['seed']), one['classes'].tolist(), one['values'].astype(float).tolist()]
print(json.dumps(found))
`;

test("a reader of TinyViT's records reads exports", async ({ skip }) => {
  skip(spawnSync(python, ['-c', 'import numpy']).status !== 0, `${python} has no numpy`);
  const [out, folder] = [temporary.path('tinyvit-archive'), temporary.path('tinyvit')];
  const images = sample('images');
  await importLabels({ source: sample('tinyvit'), images, classes: 7, out });
  await exportLabels({ source: out, to: 'tinyvit', images, out: folder });
  const { records, k } = expectedOf('tinyvit');
  for (const epoch of [0, 1]) {
    const known = records.filter((record: { epoch: number }) => record.epoch === epoch);
    expect(known).toHaveLength(10);
    const script = ['-c', TINYVIT, join(folder, `logits_top${k}_epoch${epoch}`), String(k)];
    const found = JSON.parse(execFileSync(python, script, { encoding: 'utf8' }));
    expect(Object.keys(found)).toHaveLength(10);
    for (const { key, seed, classes, values } of known) {
      expect(found[key]).toEqual([seed, classes, values]);
    }
  }
});
