import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createArchive } from '#src/archive/create.js';
import { mergeArchives } from '#src/archive/merge.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import { joinBlocks } from '#src/core/blocks.js';
import { softpack } from '../cli/softpack.js';
import { temporaryDirectory } from '../temporary.js';
import { readTree, SMALL, smallRow, writeSmall } from './fixture.js';

const temporary = await temporaryDirectory();

const samples = 48;
const BASE: ArchiveSpec = {
  ...{ ...SMALL, samples, epochs: 6, grid: { epochs: 2, samples: 16 } },
  codec: { ...SMALL.codec, sampleTensors: new Map() },
  columns: [{ name: 'weight', dtype: 'F16', rowBytes: 2 * samples }],
};
const SPECS = {
  fixed: { ...BASE, layout: { kind: 'fixed', bitsPerLabel: 13 } },
  blocks: { ...BASE, layout: { kind: 'blocks', labelsPerBlock: 8 } },
} as const;

/** Labels of samples `start` to `start + count`, multiples of 8. */
function labels(spec: ArchiveSpec, epoch: number, start: number, count: number) {
  const bytes = (n: number, salt: number) =>
    Uint8Array.from({ length: n }, (_, i) => epoch * 31 + (i + start) * 7 + salt);
  const codes =
    spec.layout.kind === 'fixed'
      ? bytes((count * 13) / 8, 1)
      : joinBlocks(
          Array.from({ length: count / 8 }, (_, i) => bytes(3 + ((epoch + start / 8 + i) % 5), i)),
        );
  return { codes, weight: bytes(2 * count, 5) };
}

async function write(
  name: string,
  spec: ArchiveSpec,
  mine: (epoch: number, start: number) => boolean,
): Promise<string> {
  const out = temporary.path(name);
  await using writer = await createArchive(out, spec);
  for (let epoch = 0; epoch < spec.epochs; epoch++) {
    for (let start = 0; start < samples; start += 8) {
      if (!mine(epoch, start)) continue;
      await writer.write({ epoch, start, count: 8 }, labels(spec, epoch, start, 8));
    }
  }
  if (writer.nextEpoch === spec.epochs) await writer.finish();
  return out;
}

test.each(['fixed', 'blocks'] as const)(
  'parts of one plan, in shards and logs, become what one writer writes: %s',
  async (kind) => {
    const spec = SPECS[kind];
    const whole = await write(`${kind}-whole`, spec, () => true);
    const owner = (epoch: number, start: number) => (epoch < 2 ? 0 : 1 + ((epoch + start / 8) % 2));
    const parts: string[] = [];
    for (const i of [0, 1, 2]) {
      parts.push(await write(`${kind}-${i}`, spec, (epoch, start) => owner(epoch, start) === i));
    }
    const out = temporary.path(`${kind}-merged`);
    const short = mergeArchives(out, parts.slice(0, 2));
    await expect(short).rejects.toMatchObject({ code: 'INCOMPLETE' });
    // Resumes what the first merge began.
    await mergeArchives(out, parts);
    expect(await readTree(out)).toEqual(await readTree(whole));
    const again = temporary.path(`${kind}-again`);
    await mergeArchives(again, [whole]);
    expect(await readTree(again)).toEqual(await readTree(whole));
  },
);

test('a schedule of temperatures stays with parts of one plan, and lets no epochs follow', async () => {
  const spec = {
    ...SMALL,
    augmentation: null,
    tauSchedule: [
      [0, 20],
      [2, 10],
    ],
  } as const;
  const whole = temporary.path('scheduled');
  await writeSmall(whole, spec);
  const out = temporary.path('scheduled-merged');
  await mergeArchives(out, [whole]);
  expect(await readTree(out)).toEqual(await readTree(whole));
  const other = temporary.path('scheduled-more');
  await writeSmall(other, { ...spec, epochs: 4 });
  const call = mergeArchives(temporary.path('scheduled-both'), [whole, other]);
  await expect(call).rejects.toMatchObject({ code: 'UNSUPPORTED' });
});

test('epochs that follow each other become what one writer writes', async () => {
  const spec = { ...SMALL, augmentation: { generator: 'recorded' }, shardBytes: undefined };
  const [a, b, whole] = ['a', 'b', 'ab'].map((name) => temporary.path(name));
  const epochs = async (out: string, first: number, count: number) => {
    await using writer = await createArchive(out, { ...spec, epochs: count });
    for (let i = 0; i < count; i++) await writer.writeRow(i, smallRow(first + i));
    await writer.finish();
  };
  await epochs(a, 0, 2);
  await epochs(b, 2, 3);
  await epochs(whole, 0, 5);
  const out = temporary.path('ab-merged');
  const run = await softpack(['merge', a, b, '--out', out]);
  expect(run).toMatchObject({ code: 0, out: expect.stringContaining('5 epochs x 11 samples') });
  expect(await readTree(out)).toEqual(await readTree(whole));
});

test('what does not fit together is refused with both values, before anything is written', async () => {
  const a = temporary.path('own');
  const b = temporary.path('other-tau');
  const c = temporary.path('drawn');
  await writeSmall(a);
  await writeSmall(b, { ...SMALL, tau: 4 });
  await writeSmall(c, { ...SMALL, epochs: 4 });
  const out = temporary.path('refused');
  await expect(mergeArchives(out, [a, b])).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    field: 'spec.tau',
    expected: '20',
    found: '4',
  });
  await expect(mergeArchives(out, [a, c])).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  await expect(mergeArchives(out, [])).rejects.toMatchObject({ field: 'from' });
  await expect(createArchive(out, SMALL).then((writer) => writer.close())).resolves.toBe(undefined);
});

test('labels that are not those of a part, whatever checksums they have, are not merged', async () => {
  const spec = { ...BASE, layout: SPECS.fixed.layout };
  const part = await write('recorded', spec, () => true);
  const other = await write('other-labels', spec, () => false);
  // The same plan with other labels, complete with checksums of their own.
  {
    await using writer = await createArchive(other, spec, { resume: true });
    for (let epoch = 0; epoch < spec.epochs; epoch++) {
      await writer.writeRow(epoch, labels(spec, epoch + 1, 0, samples));
    }
    await writer.finish();
  }
  const file = 'codes-00001.safetensors';
  await cp(join(other, file), join(part, file));
  await expect(mergeArchives(temporary.path('forged'), [part])).rejects.toMatchObject({
    code: 'CORRUPT_DATA',
    field: `${join(part, file)}: indexSha256`,
  });
});
