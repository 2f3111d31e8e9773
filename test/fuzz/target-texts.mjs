// Small texts and arrays: files of labels, lists, states of loaders, headers of web servers.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { rectangleAt } from '#src/archive/grid.js';
import { ShardLog } from '#src/archive/shard-log.js';
import { planArchive } from '#src/archive/spec.js';
import { readUnfinished } from '#src/archive/unfinished.js';
import { Augmenter } from '#src/augment/augmenter.js';
import { parseAnyAugmentationSpec } from '#src/augment/spec.js';
import { NoneCodec } from '#src/codecs/none.js';
import { loadXxh64 } from '#src/container/checksum.js';
import { parseJson } from '#src/core/json.js';
import { openImages } from '#src/images/open.js';
import { openLabelSource } from '#src/labels/source.js';
import { positionOf } from '#src/loader/state.js';
import { readDescription } from '#src/nn/teachers/description.js';
import { redirected } from '#src/store/exchange.js';
import {
  isStrong,
  parseContentRange,
  parseRetryAfter,
  parseUnsatisfied,
} from '#src/store/range.js';
import { corpus, filesIn, MOST_CLASSES } from './target-inputs.mjs';

export function addTexts(add, onFile) {
  const readLabels = async (file) => {
    const source = await openLabelSource(file);
    try {
      if (source.classes <= MOST_CLASSES) await source.read(0, 0, 1);
    } finally {
      await source.close();
    }
  };
  add('npy', 'bytes', filesIn('npy'), onFile('labels.npy', readLabels), 0.1);
  add('npz', 'bytes', filesIn('npz'), onFile('labels.npz', readLabels), 0.1);
  const tensors = readFileSync(path.join(corpus, 'archives/vqae/codec.safetensors'));
  add(
    'labels.safetensors',
    'safetensors',
    [tensors],
    onFile('labels.safetensors', readLabels),
    0.3,
  );
  const readMark = onFile('unfinished.json', (_, folder) => readUnfinished(folder));
  add('unfinished', 'json', filesIn('unfinished'), readMark, 0.1);
  const log = onFile('codes-00000.safetensors.partial', (_, folder) => readLog(folder));
  add('log of a shard', 'bytes', filesIn('log'), log, 0.3);
  const readTeacher = onFile('teacher.json', (_, folder) => readDescription(folder));
  add('teacher.json', 'json', filesIn('teacher'), readTeacher, 0.1);
  add(
    'image list',
    'bytes',
    filesIn('list'),
    onFile('list.txt', (file) => openImages(file)),
    0.3,
  );
  add('JSON', 'json', filesIn('augmentation'), async (bytes) =>
    parseJson('file', 'content', bytes),
  );
  add('augmentation', 'json', filesIn('augmentation'), async (bytes) => {
    const spec = parseAnyAugmentationSpec(parseJson('file', 'content', bytes));
    if (spec.generator === 'recorded') return;
    const sizes = { count: 3, sizeOf: () => [11, 9] };
    new Augmenter(spec, sizes).batch(2, { start: 0, count: 3 });
  });
  const identity = { archiveId: 'ab'.repeat(32), seed: 3, shuffle: true };
  add('loader state', 'json', filesIn('state'), async (bytes) => {
    positionOf(parseJson('file', 'content', bytes), identity, { epochs: 2, samples: 40 });
  });
}

/** Headers of web servers, one a line. Numbers that are no sizes would be read as ranges of another file. */
export function addHeaders(add) {
  const from = new URL('https://host/folder/file?query');
  const sizes = ({ first, last, size = last + 1 }) => [first, last, size];
  add('headers', 'bytes', filesIn('headers'), async (bytes) => {
    for (const line of Buffer.from(bytes).toString('latin1').split('\n')) {
      const range = parseContentRange(line);
      const numbers = [...(range === undefined ? [] : sizes(range)), parseUnsatisfied(line) ?? 0];
      if (!numbers.every(Number.isSafeInteger)) throw new Error(`sizes ${numbers}`);
      const wait = parseRetryAfter(line) ?? 0;
      if (!(wait >= 0 && Number.isFinite(wait))) throw new Error(`wait ${wait}`);
      isStrong(line);
      if (redirected('file', from, line).protocol !== 'https:') throw new Error('not https');
    }
  });
}

/** The pieces of a log, as a writer that resumes takes them. */
async function readLog(folder) {
  const codec = new NoneCodec({ classes: 6, tau: 20, store: 'logits' });
  const { layout, decoding } = codec;
  const spec = { classes: 6, samples: 40, epochs: 2, tau: 20, augmentation: null };
  const { identity, archiveId } = planArchive({ ...spec, codec: codec.parts(), layout, decoding });
  const rectangle = rectangleAt(identity.grid, identity, 0);
  const plan = { identity, archiveId, shard: 0, rectangle };
  const opened = await ShardLog.open(folder, plan, await loadXxh64());
  try {
    for (const piece of [...opened.pieces(0), ...opened.pieces(1)]) {
      for await (const part of opened.read(piece, 0)) part.at(-1);
    }
  } finally {
    await opened.park();
  }
}
