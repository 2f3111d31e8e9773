// Writes test/fuzz/corpus, the valid files that the fuzzer changes: node test/fuzz/make-corpus.mjs
//
// Run by hand after a format has gained something. Old files stay worth fuzzing: any version must read them.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { createArchive } from '#src/archive/create.js';
import { run } from '#src/cli/run.js';
import { NoneCodec } from '#src/codecs/none.js';
import { NpyWriter } from '#src/labels/npy.js';

const [EPOCHS, SAMPLES, CLASSES] = [2, 40, 6];
const corpus = fileURLToPath(new URL('corpus/', import.meta.url));
const work = mkdtempSync(path.join(tmpdir(), 'softpack-corpus-'));
rmSync(corpus, { recursive: true, force: true });

const { stdout, stderr } = process;
const softpack = async (...argv) => {
  const signal = new AbortController().signal;
  const code = await run(argv, { stdout, stderr, signal });
  if (code !== 0) throw new Error(`softpack ${argv.join(' ')}: exit ${code}`);
};
const write = (name, content) => {
  const file = path.join(corpus, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, content);
  return file;
};
const json = (name, value) => write(name, JSON.stringify(value));

try {
  await makeLabels();
  await makeArchives();
  await makeImages();
  makeTexts();
} finally {
  rmSync(work, { recursive: true });
}

async function makeLabels() {
  mkdirSync(path.join(corpus, 'npy'), { recursive: true });
  const values = Float32Array.from(
    { length: EPOCHS * SAMPLES * CLASSES },
    (_, i) => 3 * Math.sin(i * i),
  );
  const writer = await NpyWriter.create(path.join(work, 'logits.npy'), [EPOCHS, SAMPLES, CLASSES]);
  await writer.write(values);
  await writer.finish();
  for (const [name, descr, shape, order] of [
    ['half', '<f2', '(2, 3, 4)', 'False'],
    ['double', '>f8', '(3, 4)', 'True'],
    ['bfloat', '<V2', '(2, 3, 4)', 'False'],
  ]) {
    const bytes = Number(descr.at(-1)) * (order === 'True' ? 12 : 24);
    const dict = `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': ${shape}, }`;
    const header = `${dict.padEnd(128 - 11)}\n`;
    const start = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, header.length, 0]);
    write(`npy/${name}.npy`, Buffer.concat([start, Buffer.from(header), Buffer.alloc(bytes, 60)]));
  }
  mkdirSync(path.join(corpus, 'npz'), { recursive: true });
  for (const kind of ['STORED', 'DEFLATED']) {
    const script = `import zipfile, sys
with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_${kind}) as z: z.write(sys.argv[2], 'logits.npy')`;
    const out = path.join(corpus, 'npz', `${kind.toLowerCase()}.npz`);
    execFileSync('python3', ['-c', script, out, path.join(corpus, 'npy/half.npy')]);
  }
}

async function makeArchives() {
  const pack = (name, ...args) =>
    softpack(
      'pack',
      path.join(work, 'logits.npy'),
      '--out',
      path.join(corpus, 'archives', name),
      ...args,
    );
  await pack('vqae', '--dh', '6', '--dc', '2', '--k', '8', '--steps', '5');
  await pack('topk', '--codec', 'topk', '--k', '2');
  await pack('pca', '--codec', 'pca', '--k', '2');
  await pack('rpca', '--codec', 'rpca', '--k', '2');
  await pack('vq', '--codec', 'vq', '--dc', '2', '--k', '8');
  await pack('scalar', '--codec', 'scalar', '--levels', '8');
  await pack('transform', '--codec', 'transform', '--rate', '40');
  await pack('mean', '--codec', 'mean');
  await pack('none', '--codec', 'none');
  await makeLog();
  const model = fileURLToPath(new URL('../nn/models/onnx-nchw/model.onnx', import.meta.url));
  await makePngs();
  const labels = ['--teacher', model, '--images', path.join(work, 'png'), '--epochs', '2'];
  const out = path.join(corpus, 'archives/cached');
  await softpack('cache', ...labels, '--preprocessing', 'tf', '--out', out);
}

/** The log of a shard that a killed writer left. */
async function makeLog() {
  const out = path.join(work, 'unfinished');
  const codec = new NoneCodec({ classes: CLASSES, tau: 20, store: 'logits' });
  const { layout, decoding } = codec;
  const spec = { classes: CLASSES, samples: SAMPLES, epochs: EPOCHS, tau: 20, augmentation: null };
  const writer = await createArchive(out, { ...spec, codec: codec.parts(), layout, decoding });
  for (const [start, count] of [
    [0, 8],
    [16, 4],
  ]) {
    const codes = new Uint8Array(2 * CLASSES * count).fill(60);
    await writer.write({ epoch: 0, start, count }, { codes });
  }
  await writer.close();
  mkdirSync(path.join(corpus, 'log'), { recursive: true });
  const [log] = readdirSync(out).filter((name) => name.endsWith('.partial'));
  cpSync(path.join(out, log), path.join(corpus, 'log', log));
}

async function makePngs() {
  const { default: sharp } = await import('sharp');
  for (let i = 0; i < 4; i++) {
    const file = path.join(work, 'png', `class${i % 2}`, `${i}.png`);
    mkdirSync(path.dirname(file), { recursive: true });
    const background = { r: 40 * i, g: 90, b: 200 };
    await sharp({ create: { width: 9 + i, height: 8, channels: 3, background } })
      .png()
      .toFile(file);
  }
}

async function makeImages() {
  const images = path.join(work, 'png');
  await softpack('pack-images', images, '--out', path.join(corpus, 'images/raw'), '--size', '8x8');
  await softpack(
    'pack-images',
    images,
    '--out',
    path.join(corpus, 'images/jpeg'),
    '--encoding',
    'jpeg',
  );
}

function makeTexts() {
  const head = { classes: 6, samples: 40, epochs: 2, codec: { name: 'none' } };
  json('unfinished/head.json', head);
  json('teacher/full.json', {
    ...{ mean: [0.4, 0.5, 0.6], std: [0.2, 0.2, 0.2], channels: 'bgr', layout: 'nchw' },
    ...{ output: 'logits', size: [8, 8], classes: 3, classNames: ['a', 'b', 'c'] },
  });
  json('teacher/preset.json', { preprocessing: 'torch' });
  write('list/names.txt', '# comment\nb/1.png\tbee\na/2.jpg\tant\n');
  write('list/indices.txt', 'a/1.png 3\na/2.jpg 0\n\nb/3.webp 3\n');
  write('list/bare.txt', '\ufeffx.png\r\ny.jpeg\r\n');
  const crop = { scale: [0.08, 1], ratio: [0.75, 1.3333] };
  const spec = { generator: 'philox4x32-10', seed: 7, size: [8, 8], crop, flip: 0.5 };
  json('augmentation/cutmix.json', {
    ...spec,
    mix: { kind: 'cutmix', alpha: 1, probability: 0.5 },
  });
  json('augmentation/mixup.json', { ...spec, mix: { kind: 'mixup', alpha: 0.2, probability: 1 } });
  json('augmentation/none.json', { ...spec, mix: { kind: 'none' } });
  json('augmentation/recorded.json', { generator: 'recorded', size: [8, 8] });
  write('headers/range.txt', 'bytes 10-99/1000\nbytes 0-0/*\nbytes */47\n"etag"\nW/"weak"\n');
  write('headers/wait.txt', '120\nWed, 21 Oct 2026 07:28:00 GMT\n');
  write('headers/location.txt', 'https://other.example/a/b?c#d\n//host/x\n../up\n/root\n');
  json('state/middle.json', {
    ...{ version: 1, archiveId: 'ab'.repeat(32), seed: 3, shuffle: true, epoch: 1, delivered: 7 },
  });
  const models = fileURLToPath(new URL('../nn/models/', import.meta.url));
  for (const name of ['layers-model', 'graph-model', 'onnx-nchw']) {
    cpSync(path.join(models, name), path.join(corpus, 'models', name), { recursive: true });
  }
}
