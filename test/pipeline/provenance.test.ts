import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createArchive } from '#src/archive/create.js';
import { callRecord } from '#src/archive/provenance.js';
import { run } from '#src/cli/run.js';
import { mergeArchives, openArchive, packLogits, verifyArchive } from '#src/index.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { SMALL, smallRow, writeSmall } from '../archive/fixture.js';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();
const { version } = JSON.parse(await readFile('package.json', 'utf8'));
const shape = { epochs: 2, samples: 16, classes: 3 };
const logits = Float32Array.from({ length: 96 }, (_, i) => Math.sin(i) * 4);

async function pack(name: string, options: object = {}): Promise<string> {
  const out = temporary.path(name);
  const source = memoryLabelSource(logits, shape);
  await packLogits({ source, out, codec: { name: 'none', store: 'logits' }, tau: 4, ...options });
  return out;
}

async function provenanceOf(path: string): Promise<unknown> {
  await using archive = await openArchive(path);
  return archive.manifest.provenance;
}

test('an archive says which version and call made it, wherever it was made', async () => {
  const first = await pack('first');
  const second = await pack('second', { onProgress: () => undefined });
  expect(await provenanceOf(first)).toEqual({
    softpack: version,
    call: 'packLogits',
    arguments: { codec: { name: 'none', store: 'logits' }, tau: 4 },
  });
  expect(await readFile(join(second, 'manifest.json'))).toEqual(
    await readFile(join(first, 'manifest.json')),
  );
});

test('an archive that is packed again says how its source was made', async () => {
  const again = await pack('again', { source: await pack('once'), tau: undefined });
  expect(await provenanceOf(again)).toMatchObject({
    arguments: { source: temporary.path('once') },
    sources: [{ call: 'packLogits', softpack: version }],
  });
});

test('whoever resumes an archive did not make it', async () => {
  const out = temporary.path('resumed');
  const made = (by: string) => ({ ...SMALL, provenance: { call: by } });
  await writeSmall(out, made('first'), { until: 2 });
  await writeSmall(out, made('second'), { resume: true });
  expect(await provenanceOf(out)).toEqual({ softpack: version, call: 'first' });
});

describe('merged archives', () => {
  const part = async (name: string, call: string, epochs: number): Promise<string> => {
    const out = temporary.path(name);
    const spec = { ...SMALL, augmentation: null, epochs, provenance: { call } };
    await using writer = await createArchive(out, spec);
    for (let epoch = 0; epoch < epochs; epoch++) await writer.writeRow(epoch, smallRow(epoch));
    await writer.finish();
    return out;
  };

  test('say how their parts were made, which may be in one way', async () => {
    const [a, b, c] = [await part('a', 'x', 2), await part('b', 'x', 3), await part('c', 'y', 1)];
    await mergeArchives(temporary.path('ab'), [a, b]);
    expect(await provenanceOf(temporary.path('ab'))).toEqual({ softpack: version, call: 'x' });
    await mergeArchives(temporary.path('abc'), [a, b, c]);
    const one = { softpack: version };
    expect(await provenanceOf(temporary.path('abc'))).toEqual({
      ...{ softpack: version, call: 'mergeArchives', arguments: { from: [a, b, c] } },
      sources: [
        { ...one, call: 'x' },
        { ...one, call: 'y' },
      ],
    });
  });
});

test('a call is recorded without secrets, circumstances or what is no data', () => {
  const { signal } = new AbortController();
  const args = {
    from: 'https://user:secret@host/labels.softpack?signature=secret',
    broken: 's3://user:secret@[/labels',
    out: '/home/me/labels',
    ...{ workers: 3, signal, onProgress: () => undefined, missing: undefined },
    groups: Uint32Array.of(1, 2),
    names: Array.from({ length: 101 }, String),
    training: { seed: 1, threads: 4, rate: Number.POSITIVE_INFINITY },
  };
  expect(callRecord('call', args)).toEqual({
    call: 'call',
    arguments: {
      from: 'https://host/labels.softpack?...',
      broken: 's3://...',
      // sha256 of 01 00 00 00 02 00 00 00, as sha256sum prints it.
      groups: 'sha256:34fb5c825de7ca4aea6e712f19d439c1da0c92c37b423936c5f618545ca4fa1f',
      names: '101 values',
      training: { seed: 1, rate: 'Infinity' },
    },
  });
});

test('inspect shows it, and verify finds any change of it', async () => {
  const out = await pack('shown');
  const lines: string[] = [];
  const io = {
    stdout: { write: (text: string | Uint8Array) => lines.push(String(text)) },
    stderr: { write: () => true },
    signal: new AbortController().signal,
  };
  expect(await run(['inspect', out], io)).toBe(0);
  expect(lines.join('')).toContain(`made by       softpack ${version} packLogits {"codec"`);
  const changed = temporary.path('changed');
  await cp(out, changed, { recursive: true });
  const path = join(changed, 'manifest.json');
  const text = await readFile(path, 'utf8');
  await writeFile(path, text.replace('"call":"packLogits"', '"call":"cacheLabel"'));
  const { damage } = await verifyArchive(changed);
  expect(damage).toMatchObject([{ file: 'manifest.json', kind: 'content', labels: [] }]);
});
