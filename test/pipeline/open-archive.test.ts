import { describe, expect, test } from 'vitest';
import { createArchive } from '#src/archive/create.js';
import { NoneCodec } from '#src/codecs/none.js';
import type { CodecParts, CodeLayout } from '#src/core/codec-parts.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { temporaryDirectory } from '../temporary.js';

const directory = await temporaryDirectory();
const tensors = new Map();
const sampleTensors = new Map();

async function made(name: string, classes: number, codec: CodecParts, bitsPerLabel: number) {
  const layout: CodeLayout = { kind: 'fixed', bitsPerLabel };
  const counts = { classes, samples: 4, epochs: 1, tau: 20 };
  const spec = { ...counts, codec, layout, decoding: 'words', augmentation: null };
  await using writer = await createArchive(directory.path(name), spec);
  await writer.writeRow(0, { codes: new Uint8Array(Math.ceil((4 * bitsPerLabel) / 8)) });
  await writer.finish();
  return directory.path(name);
}

const none = new NoneCodec({ classes: 5, tau: 20, store: 'logits' }).parts();
const topK = { classes: 5, tau: 20, k: 2, values: 'none', rest: 'zero' };

describe('openArchive', () => {
  test('opens what agrees, and what only a newer version can decode', async () => {
    await using archive = await openArchive(await made('good', 5, none, 80));
    expect(archive.classes).toBe(5);
    await using newer = await openArchive(await made('newer', 5, { ...none, name: 'next' }, 7));
    expect(newer.codecParts.name).toBe('next');
  });

  test.each([
    ['a layout of other bits', 5, none, 81, 'layout'],
    ['no such form', 5, { ...none, config: { ...none.config, store: 'both' } }, 80, 'store'],
    ['settings that cannot be', 5, { name: 'topk', config: topK, tensors, sampleTensors }, 6, 'k'],
    [
      'a missing tensor',
      5,
      { ...none, name: 'scalar', config: { ...topK, levels: 4, eps: 0.1 } },
      10,
      'levels',
    ],
    [
      'half a billion classes',
      2 ** 29,
      { name: 'topk', config: { ...topK, classes: 2 ** 29, k: 1 }, tensors, sampleTensors },
      29,
      'classes',
    ],
  ])('refuses %s', async (name, classes, codec, bits, field) => {
    const path = await made(name, classes, codec as CodecParts, bits);
    await expect(openArchive(path)).rejects.toMatchObject({
      code: 'INVALID_FILE',
      field: expect.stringContaining(field),
    });
  });
});
