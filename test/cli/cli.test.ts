import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { Interruption } from '#src/cli/io.js';
import { run as runCommand } from '#src/cli/run.js';
import { loadCodec } from '#src/codecs/registry.js';
import { loadKernels } from '#src/kernels/load.js';
import { NpyWriter } from '#src/labels/npy.js';
import { openLabelSource } from '#src/labels/source.js';
import { syntheticLogits } from '../codecs/labels.js';
import { softpack } from './softpack.js';

const SEVERAL = fileURLToPath(new URL('../labels/golden/several.npz', import.meta.url));
/** 3 segments of 4 bits: 32 times smaller than float16 by codes. */
const SIZE = ['--dh', '24', '--dc', '8', '--k', '16'];
const [EPOCHS, SAMPLES, CLASSES] = [2, 150, 24];
let dir: string;
let logits: string;
let packed: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'softpack cli '));
  process.chdir(dir);
  logits = join(dir, 'logits.npy');
  await using writer = await NpyWriter.create(logits, [EPOCHS, SAMPLES, CLASSES]);
  await writer.write(syntheticLogits(EPOCHS * SAMPLES, CLASSES));
  await writer.finish();
  packed = join(dir, 'packed');
  const run = await softpack(['pack', logits, ...SIZE, '--out', packed, '--steps', '40', '--json']);
  expect(run).toMatchObject({ code: 0 });
  expect(JSON.parse(run.out)).toMatchObject({ labels: EPOCHS * SAMPLES, classes: CLASSES });
});

afterAll(async () => {
  process.chdir('/');
  await rm(dir, { recursive: true });
});

describe('pack', () => {
  test.each([
    ['no codec', ['pack', 'logits.npy', '--out', 'x'], 2, '--ratio'],
    ['two codecs', ['pack', 'logits.npy', '--out', 'x', '--ratio', '9', '--k', '4'], 2, '--ratio'],
    ['half a shape', ['pack', 'logits.npy', '--out', 'x', '--k', '4'], 2, '--dh'],
    ['a ratio that is none', ['pack', 'logits.npy', '--out', 'x', '--ratio', 'ten'], 2, '--ratio'],
    ['a ratio out of reach', ['pack', 'logits.npy', '--out', 'x', '--ratio', '9999'], 2, 'ratio'],
    ['no output', ['pack', 'logits.npy', '--ratio', '9'], 2, '--out'],
    ['an unknown option', ['pack', 'logits.npy', '--out', 'x', '--fast'], 2, '--fast'],
    ['an unknown command', ['squeeze'], 2, 'squeeze'],
    [
      'a filter without images',
      ['pack', 'logits.npy', '--out', 'x', ...SIZE, '--filter', 'ferkd'],
      2,
      '--images',
    ],
    [
      'a filter of no name',
      ['pack', 'logits.npy', '--out', 'x', ...SIZE, '--filter', 'fkd'],
      2,
      '--filter',
    ],
    ['no such file', ['pack', 'none.npy', '--out', 'x', ...SIZE], 1, 'NOT_FOUND'],
    ['text for numbers', ['pack', 'text.npy', '--out', 'x', ...SIZE], 1, 'INVALID_FILE'],
    ['one axis', ['pack', 'flat.npy', '--out', 'x', ...SIZE], 1, 'INVALID_FILE'],
    ['NaN', ['pack', 'nan.npy', '--out', 'x', ...SIZE], 1, 'NON_FINITE'],
    [
      'an archive in the way',
      ['pack', 'logits.npy', '--out', 'packed', '--codec', 'topk', '--k', '2'],
      1,
      'ALREADY_EXISTS',
    ],
    ['probabilities', ['pack', 'soft.npy', '--out', 'x', ...SIZE], 2, '--probabilities'],
    [
      'two kinds of values',
      ['pack', 'soft.npy', '--out', 'x', ...SIZE, '--probabilities', '--logits'],
      2,
      '--logits',
    ],
    ['no such array', ['pack', SEVERAL, '--tensor', 'z', '--out', 'x', ...SIZE], 1, 'NOT_FOUND'],
    [
      'too few labels',
      ['pack', 'logits.npy', '--out', 'x', '--dh', '24', '--dc', '24', '--k', '1024'],
      1,
      'TOO_FEW_LABELS',
    ],
  ] as const)('%s', async (_, args, code, message) => {
    await writeFile(join(dir, 'text.npy'), 'not numbers');
    await write('soft.npy', [1, 150, 24], new Float32Array(150 * 24).fill(1 / 24));
    await write('flat.npy', [24], new Float32Array(24));
    await write('nan.npy', [2, 40, 24], new Float32Array(2 * 40 * 24).fill(Number.NaN, 1000, 1001));
    const run = await softpack(args);
    expect(run.code).toBe(code);
    expect(run.err).toContain(message);
    expect(run.err).not.toContain('    at ');
    expect(run.out).toBe('');
    expect(existsSync(join(dir, 'x'))).toBe(false);
  });

  test('interrupted, it leaves nothing broken, and goes on to the same archive', async () => {
    const out = join(dir, 'cut');
    const controller = new AbortController();
    const args = ['pack', logits, ...SIZE, '--steps', '20000', '--out', out];
    const run = await softpack(args, {
      signal: controller.signal,
      onErr: (err) => {
        if (err.includes('reading labels')) controller.abort(new Interruption('a test', 130));
      },
    });
    expect(run.code).toBe(130);
    expect(await softpack(['pack', logits, ...SIZE, '--steps', '40', '--out', out])).toMatchObject({
      code: 0,
    });
    for (const file of await readdir(packed)) {
      expect(await readFile(join(dir, 'cut', file))).toEqual(await readFile(join(packed, file)));
    }
  });

  test('takes one array of several, and probabilities if told so', async () => {
    const run = await softpack([
      ...['pack', SEVERAL, '--tensor', 'a', '--codec', 'topk', '--k', '2', '--json'],
      ...['--out', join(dir, 'several')],
    ]);
    expect(run).toMatchObject({ code: 0 });
    expect(JSON.parse(run.out)).toMatchObject({ labels: 6, classes: 5 });
    const rows = Float32Array.from({ length: 150 * 24 }, (_, i) => (i % 25 === 0 ? 0.77 : 0.01));
    await write('soft.npy', [1, 150, 24], rows);
    const args = ['pack', 'soft.npy', '--probabilities', '--codec', 'none', '--json'];
    const soft = await softpack([...args, '--tau', '1', '--out', join(dir, 'soft')]);
    expect(soft).toMatchObject({ code: 2 });
    expect(soft.err).toContain('sample 24');
    const whole = rows.map((_, i) => (i % 24 === 3 ? 0.77 : 0.01));
    await write('soft.npy', [1, 150, 24], whole);
    const found = await softpack([...args, '--tau', '1', '--out', join(dir, 'whole')]);
    expect(found).toMatchObject({ code: 0 });
    expect(JSON.parse(found.out).divergence.kl).toBeLessThan(1e-6);
  });

  async function write(name: string, shape: readonly number[], values: Float32Array) {
    await using writer = await NpyWriter.create(join(dir, name), shape);
    await writer.write(values);
    await writer.finish();
  }
});

describe('cat', () => {
  test('writes the decoded probabilities of the samples asked for', async () => {
    const out = join(dir, 'cat.npy');
    const run = await softpack(['cat', packed, '--epoch', '1', '--samples', '10:', '--out', out]);
    expect(run).toMatchObject({ code: 0, err: '' });
    await using file = await openLabelSource(out);
    expect([file.epochs, file.samples, file.classes]).toEqual([1, SAMPLES - 10, CLASSES]);
    const found = await file.read(0, 0, SAMPLES - 10);
    await using archive = await openArchive(packed);
    using codec = loadCodec(archive.codecParts, loadKernels());
    const labels = { start: 10, count: SAMPLES - 10 };
    const expected = new Float32Array(labels.count * CLASSES);
    const row = await archive.readRow(1);
    codec.decode({ row, labels, context: { epoch: 1, samples: labels }, out: expected });
    expect(found).toEqual(expected);
  });

  test('writes several epochs, as numbers that give back every float32, or to standard output', async () => {
    const range = ['--epoch', '0:', '--samples', '3:5'];
    const out = join(dir, 'range.npy');
    await softpack(['cat', packed, ...range, '--out', out]);
    await using file = await openLabelSource(out);
    expect([file.epochs, file.samples, file.classes]).toEqual([EPOCHS, 2, CLASSES]);
    const expected = [await file.read(0, 0, 2), await file.read(1, 0, 2)];
    const json = await softpack(['cat', packed, ...range, '--format', 'json', '--out', '-']);
    const found = JSON.parse(json.out);
    expect(found).toHaveLength(2 * EPOCHS);
    for (const [i, { epoch, sample, probabilities }] of found.entries()) {
      expect([epoch, sample]).toEqual([i >> 1, 3 + (i % 2)]);
      const label = expected[i >> 1].subarray((i % 2) * CLASSES, ((i % 2) + 1) * CLASSES);
      expect(Float32Array.from(probabilities)).toEqual(label);
    }
    const csv = join(dir, 'labels.csv');
    await softpack(['cat', packed, ...range, '--format', 'csv', '--out', csv]);
    const [header, ...lines] = (await readFile(csv, 'utf8')).trimEnd().split('\n');
    expect(header.split(',')).toHaveLength(2 + CLASSES);
    for (const [i, line] of lines.entries()) {
      expect(line.split(',').map(Number).slice(2)).toEqual(found[i].probabilities);
    }
    const chunks: (string | Uint8Array)[] = [];
    const write = (data: string | Uint8Array) => chunks.push(data);
    const signal = new AbortController().signal;
    const argv = ['cat', packed, ...range, '--out', '-'];
    expect(await runCommand(argv, { stdout: { write }, stderr: { write }, signal })).toBe(0);
    const bytes = Buffer.concat(chunks.map((chunk) => Buffer.from(chunk)));
    expect(bytes.equals(await readFile(out))).toBe(true);
  });

  test.each([
    ['--epoch', ['--epoch', '2']],
    ['--samples', ['--epoch', '0', '--samples', '0:151']],
    ['--samples', ['--epoch', '0', '--samples', '5']],
    ['--epoch', ['--epoch', '0:3']],
    ['--epoch', ['--epoch', '-1']],
    ['--format', ['--epoch', '0', '--format', 'parquet']],
  ])('refuses a bad %s', async (option, args) => {
    const run = await softpack(['cat', packed, ...args, '--out', join(dir, 'bad.npy')]);
    expect(run.code).toBe(2);
    expect(run.err).toContain(option);
    expect(existsSync(join(dir, 'bad.npy'))).toBe(false);
  });
});

describe('inspect', () => {
  test('accounts for every byte', async () => {
    const run = await softpack(['inspect', packed, '--json']);
    const { bytes, labels, ratio } = JSON.parse(run.out);
    let total = 0;
    for (const file of await readdir(packed)) total += (await readFile(join(packed, file))).length;
    expect(bytes.total).toBe(total);
    expect(labels).toBe(EPOCHS * SAMPLES);
    expect(ratio.codes).toBeGreaterThanOrEqual(12);
    const text = await softpack(['inspect', packed]);
    expect(text.out).toContain('2 epochs x 150 samples');
  });

  test('says what is wrong with a directory that is no archive', async () => {
    const run = await softpack(['inspect', dir]);
    expect(run).toMatchObject({ code: 1, out: '' });
    expect(run.err).toContain('INCOMPLETE');
  });
});

test('doctor lists every backend with state and reason', async () => {
  const run = await softpack(['doctor', '--json']);
  const { node, kernels, tensorflow, teachers } = JSON.parse(run.out);
  expect(node).toBe(process.version);
  const names = (list: readonly { name: string }[]) => list.map(({ name }) => name);
  expect(names(kernels)).toEqual(['cpu', 'cuda', 'reference']);
  expect(names(tensorflow)).toEqual(['tensorflow', 'wasm', 'cpu']);
  expect(names(teachers)).toEqual(['onnx']);
  for (const { state, reason } of [...kernels, ...tensorflow, ...teachers]) {
    expect(state).toMatch(/^[a-z-]+$/);
    expect(reason.length).toBeGreaterThan(5);
  }
  expect((await softpack(['doctor'])).out).toContain('TensorFlow.js');
});

describe('plan', () => {
  const paper = ['plan', '--classes', '1000', '--ipc', '10'];

  test('prints every codec at the size asked for, and the same as JSON', async () => {
    const run = await softpack([...paper, '--ratio', '40', '--teacher-bytes', '46800000']);
    expect(run).toMatchObject({ code: 0, err: '' });
    expect(run.out).toContain('5.588 GiB as float16');
    expect(run.out).toMatch(/^topk .*k 15$/m);
    expect(run.out).toContain('smaller than it from 128.2x on');
    const json = await softpack([...paper, '--megabytes', '143.05', '--json']);
    const { full, budget, codecs, teacher } = JSON.parse(json.out);
    expect([full, budget, teacher]).toEqual([6e9, 143.05 * 2 ** 20, undefined]);
    expect(codecs[1]).toMatchObject({ name: 'topk', parameters: 'k 15' });
  });

  test.each([
    [['--ratio', '4', '--megabytes', '3'], '--ratio'],
    [['--ratio', '0.5'], 'ratio'],
    [['--epochs', '0'], '--epochs'],
  ])('refuses %o', async (args, named) => {
    const run = await softpack([...paper, ...args]);
    expect(run.code).toBe(2);
    expect(run.err).toContain(named);
  });
});

test.each([
  [[]],
  [['plan']],
  [['cache']],
  [['pack']],
  [['cat']],
  [['inspect']],
  [['doctor']],
  [['demo']],
])('%s --help explains itself', async (command) => {
  const run = await softpack([...command, '--help']);
  expect(run).toMatchObject({ code: 0, err: '' });
  expect(run.out).toContain('Usage: softpack');
});
