import { expect, test } from 'vitest';
import { keyOf } from '#apps/experiments/pack.js';
import { Workspace } from '#apps/experiments/workspace.js';
import { CODECS } from '#src/codecs/registry.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { syntheticLogits } from '../codecs/labels.js';
import { temporaryDirectory } from '../temporary.js';

const directory = await temporaryDirectory();

test('a step belongs to the revision of its codec, and to nothing that depends on the set alone', () => {
  const workspace = new Workspace(directory.path('steps'));
  const codec = { name: 'transform', totalRatio: 400 } as const;
  const { revision } = CODECS.of(codec);
  expect(revision).toBeGreaterThan(1);
  expect(keyOf(codec)).toEqual({ ...codec, revision });
  // Key of the steps that earlier code left.
  const earlier = workspace.key('pack', { codec });
  expect(workspace.key('pack', { codec: keyOf(codec) })).not.toBe(earlier);
  const groups = new Uint32Array(4);
  expect(keyOf({ name: 'mean', groups })).toEqual({ name: 'mean' });
});

/** What archives of a revision hold: whoever changes it raises the revision, in the descriptor and here. */
const HELD = {
  revision: 2,
  config: 'bases classes components labelsPerBlock sideStates states step tau views',
  tensors: 'base_shifts base_steps bases basis basis_shifts shifts steps tables',
};

test('archives of transform and predictive hold what their revision says', async () => {
  expect(CODECS.of({ name: 'predictive' }).revision).toBe(HELD.revision + 1);
  expect(CODECS.of({ name: 'transform' }).revision).toBe(HELD.revision);
  const shape = { epochs: 8, samples: 120, classes: 30 };
  const source = memoryLabelSource(syntheticLogits(960, 30), shape);
  const out = directory.path('archive');
  await packLogits({ source, out, codec: { name: 'transform', rate: 40, bases: true }, tau: 4 });
  await using archive = await openArchive(out);
  const { config, tensors } = archive.codecParts;
  expect(Object.keys(config).sort().join(' ')).toBe(HELD.config);
  expect([...tensors.keys()].sort().join(' ')).toBe(HELD.tensors);
});
