import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import type { FileRecord } from '#src/archive/file-record.js';
import { type ArchiveIdentity, archiveIdOf } from '#src/archive/identity.js';
import {
  type Manifest,
  makeManifest,
  manifestBytes,
  parseManifest,
} from '#src/archive/manifest.js';
import { temporaryDirectory } from '../temporary.js';
import { writeSmall } from './fixture.js';

const directory = await temporaryDirectory();
await writeSmall(directory.path('archive'));
const { manifest } = await openArchive(directory.path('archive'));

const parse = (json: unknown) => parseManifest('m.json', Buffer.from(JSON.stringify(json)));

/** The same archive as version 1 wrote it: without a grid, and with a list of its shards. */
const versionOne = (() => {
  const {
    format,
    version,
    minReader,
    features,
    archiveId: _,
    shardTable,
    grid,
    provenance: __,
    ...identity
  } = manifest;
  const shards = [0, 1, 3].map((begin, i) => ({
    ...{ file: `codes-${i}.safetensors`, bytes: 100, sha256: 'a'.repeat(64) },
    epochs: [begin, [1, 3, 5][i]],
    ...{ samples: [0, 11], indexSha256: 'b'.repeat(64) },
  }));
  const archiveId = archiveIdOf(identity);
  return { format, version: 1, minReader: 1, features, archiveId, ...identity, shards };
})();

/** The manifest with the value at a path replaced; undefined removes it. */
function changed(path: string, value: unknown, of: unknown = manifest): unknown {
  const copy = structuredClone(of) as Record<string, unknown>;
  const keys = path.split('.');
  const last = keys.pop() ?? '';
  let parent = copy;
  for (const key of keys) parent = parent[key] as Record<string, unknown>;
  if (value === undefined) delete parent[last];
  else parent[last] = value;
  return copy;
}

describe('parseManifest', () => {
  test('reads what makeManifest writes', () => {
    expect(parseManifest('m.json', manifestBytes(manifest))).toEqual(manifest);
  });

  test('the file ends with the sha256 of all bytes before its last field', () => {
    const text = String(Buffer.from(manifestBytes(manifest)));
    const at = text.lastIndexOf('  "checksum"');
    const found = createHash('sha256').update(text.slice(0, at)).digest('hex');
    expect(text.slice(at)).toBe(`  "checksum": "${found}"\n}\n`);
    expect(JSON.parse(text)).toMatchObject({ checksum: found, archiveId: manifest.archiveId });
  });

  test('ignores what it does not know', () => {
    expect(
      parse({ ...manifest, extra: 1, features: { ...manifest.features, optional: ['x'] } }),
    ).toEqual({
      ...manifest,
      features: { required: [], optional: ['x'] },
    });
  });

  test('names what a newer archive needs, before it looks at anything else', () => {
    expect(() => parse({ ...manifest, minReader: 3, classes: 'many' })).toThrow(
      expect.objectContaining({
        code: 'UNSUPPORTED',
        field: 'm.json: minReader',
        expected: 'at most 2',
        found: 3,
      }),
    );
    const features = { required: ['entropy-coded'], optional: [] };
    expect(() => parse({ ...manifest, features, classes: 'many' })).toThrow(
      expect.objectContaining({
        code: 'UNSUPPORTED',
        field: 'm.json: features.required',
        expected:
          'among pruned, listed, rendering, tau-schedule, views, parts, sample-parts, sample-blocks, side-trellis, coded-text, likeness, exact-logits, counted-draws',
        found: 'entropy-coded',
      }),
    );
    expect(() => parse(changed('layout', { kind: 'words', labelsPerBlock: 256 }))).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', found: 'words' }),
    );
  });

  test.each([
    ['format', 'hardpack'],
    ['version', 0],
    ['minReader', '1'],
    ['features', null],
    ['features.optional', 'none'],
    ['archiveId', 'abc'],
    ['classes', 0],
    ['samples', 2 ** 60],
    ['epochs', 1.5],
    ['tau', 0],
    ['tau', '20'],
    ['codec', undefined],
    ['codec.name', ''],
    ['codec.config', []],
    ['codecFile.file', '../codec.safetensors'],
    ['codecFile.file', '/etc/passwd'],
    ['codecFile.file', 'a\u0000b'],
    ['codecFile.file', '.hidden'],
    ['codecFile.bytes', -1],
    ['codecFile.sha256', 'F'.repeat(64)],
    ['samplesFile.sha256', null],
    ['layout.bitsPerLabel', 1.5],
    ['augmentation', 'crop'],
    ['classNames', ['a', 'b']],
    ['classNames.1', 7],
    ['columns', []],
    ['columns.0.name', 'weight'],
    ['columns.0.dtype', 'U7'],
    ['columns.0.rowBytes', 17],
    ['columns.1.rowBytes', 21],
    ['columns.1.name', 'a/b'],
    ['version', 1],
    ['grid', undefined],
    ['grid', []],
    ['grid.epochs', 0],
    ['grid.samples', 4],
    ['shardTable', undefined],
    ['shardTable.file', 'codec.safetensors'],
    ['shardTable.sha256', 'x'],
    ['codecFile.file', 'codes-00000.safetensors'],
    ['codecFile.file', 'shards.safetensors'],
    ['storedEpochs', 0],
    ['storedEpochs', 5],
    ['pruning', 'half'],
    ['pruning', {}],
    ['pruning', { samples: 10, epochs: 5, seed: 0 }],
    ['pruning', { samples: 22, epochs: 2, seed: 0 }],
    ['pruning', { samples: 2 ** 33, epochs: 5, seed: 0 }],
    ['pruning', { samples: 11, epochs: 5, seed: -1 }],
  ])('refuses %s: %j', (path, value) => {
    expect(() => parse(changed(path, value))).toThrow(
      expect.objectContaining({
        code: 'INVALID_FILE',
        message: expect.stringMatching(/^m\.json: /),
      }),
    );
  });

  test('reads what version 1 wrote', () => {
    expect(parse(versionOne)).toEqual(versionOne);
  });

  test.each([
    ['version', 2],
    ['grid', { epochs: 2, samples: 11 }],
    ['layout', { kind: 'blocks', labelsPerBlock: 256 }],
    ['shards', []],
    ['shards', {}],
    ['shards.0.file', 'codec.safetensors'],
    ['shards.1.file', 'codes-0.safetensors'],
    ['shards.0.epochs', [0, 0]],
    ['shards.0.epochs', [0, 2]],
    ['shards.1.epochs', [2, 3]],
    ['shards.2.epochs', [3, 4]],
    ['shards.2.epochs', [3, 6]],
    ['shards.0.epochs', [0, 1, 2]],
    ['shards.0.samples', [0, 10]],
    ['shards.0.samples', [1, 11]],
    ['shards.0.indexSha256', undefined],
    ['shards.0.bytes', 1e300],
  ])('refuses %s of version 1: %j', (path, value) => {
    expect(() => parse(changed(path, value, versionOne))).toThrow(
      expect.objectContaining({ code: 'INVALID_FILE' }),
    );
  });

  test.each([
    ['grid.epochs', 3],
    ['tau', 19],
    ['augmentation.seed', 8],
    ['codec.config.tau', 21],
    ['pruning', { samples: 33, epochs: 5, seed: 0 }],
    ['teacher', undefined],
    ['classNames.0', 'b'],
    ['codecFile.sha256', '0'.repeat(64)],
  ])('notices that %s was changed', (path, value) => {
    expect(() => parse(changed(path, value))).toThrow(
      expect.objectContaining({ code: 'CORRUPT_DATA', field: 'm.json: archiveId' }),
    );
  });

  test.each([
    ['no JSON', '{'],
    ['a list', '[]'],
    ['a key twice', '{"format":"softpack","format":"softpack"}'],
    ['nothing', ''],
    ['a deep document', `{"a":${'['.repeat(1e5)}${']'.repeat(1e5)}}`],
  ])('refuses %s', (_, text) => {
    expect(() => parseManifest('m.json', Buffer.from(text))).toThrow(
      expect.objectContaining({ code: 'INVALID_FILE' }),
    );
  });
});

describe('makeManifest', () => {
  test('gives an id that does not depend on the order of keys, but on every value', () => {
    const { format, version, minReader, features, archiveId, ...rest } = manifest;
    const { shardTable, provenance: _, ...identity } = rest;
    const table = shardTable as FileRecord;
    const reversed = Object.fromEntries(Object.entries(identity).reverse());
    const again: Manifest = makeManifest(reversed as unknown as ArchiveIdentity, table);
    expect(again.archiveId).toBe(archiveId);
    expect(makeManifest({ ...identity, tau: 21 }, table).archiveId).not.toBe(archiveId);
    const other = { ...table, sha256: '0'.repeat(64) };
    expect(makeManifest(identity, other).archiveId).toBe(archiveId);
    expect([format, version, minReader, features.required]).toEqual(['softpack', 2, 2, []]);
  });

  test('names side data of a codec that older readers would take for damaged', () => {
    const { format, version, minReader, features, archiveId, ...rest } = manifest;
    const { shardTable, provenance: _, ...identity } = rest;
    const codec = { name: 'transform', config: { ...identity.codec.config, sideStates: 8 } };
    const made = makeManifest({ ...identity, codec }, shardTable as FileRecord);
    expect(made.features.required).toEqual(['side-trellis']);
    expect(parseManifest('m.json', manifestBytes(made))).toEqual(made);
  });
});
