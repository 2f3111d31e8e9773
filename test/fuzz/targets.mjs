// Every parser of untrusted bytes, as a function that either returns or throws a SoftpackError.

import { generateKeyPairSync } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { openArchive } from '#src/archive/archive.js';
import { rectangleAt } from '#src/archive/grid.js';
import { ShardLog } from '#src/archive/shard-log.js';
import { planArchive } from '#src/archive/spec.js';
import { readUnfinished } from '#src/archive/unfinished.js';
import { Augmenter } from '#src/augment/augmenter.js';
import { parseAnyAugmentationSpec } from '#src/augment/spec.js';
import { NoneCodec } from '#src/codecs/none.js';
import { loadCodec } from '#src/codecs/registry.js';
import { loadXxh64 } from '#src/container/checksum.js';
import { verifySignature } from '#src/container/signature.js';
import { decodeTensorFile } from '#src/container/tensor-file.js';
import { readTorchFile } from '#src/container/torch/open.js';
import { stateDictOf } from '#src/container/torch/state-dict.js';
import { isJsonObject, parseJson } from '#src/core/json.js';
import { SoftpackError } from '#src/errors.js';
import { decodeImage } from '#src/images/decode.js';
import { openImages } from '#src/images/open.js';
import { openImageReader } from '#src/images/reader.js';
import { loadKernels } from '#src/kernels/load.js';
import { openLabelSource } from '#src/labels/source.js';
import { positionOf } from '#src/loader/state.js';
import { readDescription } from '#src/nn/teachers/description.js';
import { loadTeacher } from '#src/nn/teachers/load.js';
import { verifyArchive } from '#src/pipeline/verify.js';
import { redirected } from '#src/store/exchange.js';
import {
  isStrong,
  parseContentRange,
  parseRetryAfter,
  parseUnsatisfied,
} from '#src/store/range.js';
import { openHiddenArchive } from '#src/tokens/hidden/hidden-archive.js';
import { HiddenCodec } from '#src/tokens/hidden/hidden-codec.js';
import { openTokenArchive } from '#src/tokens/token-archive.js';
import { TokenCodec } from '#src/tokens/token-codec.js';

/** Larger ones are opened, not decoded: zeroing their labels would take the time of many inputs. */
const MOST_CLASSES = 4096;
const MOST_IMAGES = 4096;

const corpus = fileURLToPath(new URL('corpus/', import.meta.url));
const filesIn = (folder) =>
  readdirSync(path.join(corpus, folder)).map((name) =>
    readFileSync(path.join(corpus, folder, name)),
  );

/**
 * Targets by name: `seeds` (valid files), `kind` of structure they have, `weight` (share of the executions), and
 * `run(bytes)`. Those that read files write the bytes below `work`.
 */
export function makeTargets(work) {
  const targets = new Map();
  const add = (name, kind, seeds, run, weight = 1) =>
    targets.set(name, { kind, seeds, run, weight });
  const onFile = (name, run) => {
    const folder = path.join(work, name.replace(/\W/g, '-'));
    mkdirSync(folder, { recursive: true });
    const file = path.join(folder, name);
    return async (bytes) => {
      writeFileSync(file, bytes);
      await run(file, folder);
    };
  };
  addTexts(add, onFile);
  addArchives(add);
  addHidden(add);
  for (const name of ['listed-fixed-text', 'listed-coded-text']) addListed(add, name);
  addSampleBlocks(add);
  addTrust(add);
  addHeaders(add);
  addTorch(add);
  addImages(add, work);
  addImageFiles(add);
  addModels(add, work);
  return targets;
}

function addTexts(add, onFile) {
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
function addHeaders(add) {
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

function addTorch(add) {
  const samples = fileURLToPath(new URL('../interop/samples/', import.meta.url));
  const files = readdirSync(samples, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(pt|pth|tar)$/.test(name))
    .map((name) => readFileSync(path.join(samples, name)));
  add('torch', 'bytes', files, async (bytes) => {
    const opened = await readTorchFile(memoryFile('labels.pt', bytes));
    try {
      for (const tensor of stateDictOf(opened).values()) await opened.read(tensor);
    } finally {
      await opened[Symbol.asyncDispose]();
    }
  });
}

function addArchives(add) {
  // Those of version 1 are golden files.
  const golden = fileURLToPath(new URL('../golden/archives', import.meta.url));
  const folders = [path.join(corpus, 'archives'), golden].flatMap((folder) =>
    readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => path.join(folder, name)),
  );
  const names = folders.map((folder) => path.relative(path.dirname(corpus), folder));
  const filesOf = (folder) =>
    new Map(readdirSync(folder).map((file) => [file, readFileSync(path.join(folder, file))]));
  const archives = folders.map(filesOf);
  const kernels = loadKernels();
  const decode = async (files, verify) => {
    const archive = await openArchive(memoryStore(files), { verify });
    archive.bytes();
    const codec = loadCodec(archive.codecParts, kernels);
    try {
      if (archive.classes <= MOST_CLASSES) decodeLabel(codec, await archive.readRow(0));
    } finally {
      codec.dispose();
      await archive.close();
    }
  };
  // The manifest decides which archive the rest is: mutants of one are read with the others' files too.
  const seedsOf = (pattern) =>
    archives.flatMap((files) =>
      [...files].filter(([name]) => pattern.test(name)).map(([, bytes]) => bytes),
    );
  let turn = 0;
  const inPlaceOf = (pattern, verify) => (bytes) => {
    turn += 1;
    const files = archives[turn % archives.length];
    const name = [...files.keys()].find((file) => pattern.test(file));
    return decode(new Map([...files, [name, bytes]]), verify);
  };
  for (const verify of ['block', 'none']) {
    for (const [name, files] of names.map((name, i) => [name, archives[i]])) {
      const replaced = (file) => (bytes) => decode(new Map([...files, [file, bytes]]), verify);
      const manifest = files.get('manifest.json');
      add(`${name} manifest, ${verify}`, 'json', [manifest], replaced('manifest.json'), 0.3);
      const shard = [...files.keys()].find((file) => file.startsWith('codes-'));
      add(`${name} shard, ${verify}`, 'safetensors', [files.get(shard)], replaced(shard), 0.2);
    }
    add(`any manifest, ${verify}`, 'json', seedsOf(/^manifest/), inPlaceOf(/^manifest/, verify));
  }
  for (const [i, name] of names.entries()) addCodec(add, name, archives[i], kernels);
  add('safetensors', 'safetensors', seedsOf(/safetensors$/), (bytes) =>
    decodeTensorFile(memoryFile('tensors.safetensors', bytes)),
  );
}

/** Texts and labels of an archive of language models' labels, each of whose files is replaced by mutants. */
function addTokenFiles(add, label, name, open) {
  const folder = fileURLToPath(new URL(`../golden/tokens/${name}`, import.meta.url));
  const files = new Map(readdirSync(folder).map((f) => [f, readFileSync(path.join(folder, f))]));
  for (const [file, bytes] of files) {
    const kind = file.endsWith('.json') ? 'json' : 'safetensors';
    add(`${label}, ${file}`, kind, [bytes], async (given) => {
      const archive = await open(memoryStore(new Map([...files, [file, given]])));
      try {
        for (let i = 0; i < Math.min(archive.sequences, 4); i++) {
          await archive.labels(i);
          await archive.text(i);
        }
      } finally {
        await archive.close();
      }
    });
  }
  return files;
}

/** Archives of listed ids: their files, and their codecs as if the recorded hash were that of the mutant. */
function addListed(add, name) {
  const files = addTokenFiles(add, name, name, openTokenArchive);
  const { config } = JSON.parse(files.get('manifest.json').toString()).codec;
  const load = async (bytes, given) => {
    const { tensors } = await decodeTensorFile(memoryFile('codec', bytes));
    const parts = { name: 'tokens', config: given, tensors, sampleTensors: new Map() };
    return TokenCodec.fromParts(parts, loadKernels());
  };
  const codecFile = files.get('codec.safetensors');
  add(`${name}, tensors`, 'safetensors', [codecFile], (bytes) => load(bytes, config));
  add(`${name}, config`, 'json', [Buffer.from(JSON.stringify(config))], async (bytes) => {
    const given = parseJson('manifest.json', 'codec.config', bytes);
    if (isJsonObject(given)) await load(codecFile, given);
  });
}

/** An archive of hidden states: its files, and its codec as if its recorded hash were that of the mutant. */
function addHidden(add) {
  const files = addTokenFiles(add, 'hidden states', 'hidden', openHiddenArchive);
  const { config } = JSON.parse(files.get('manifest.json').toString()).codec;
  const load = async (bytes, given) => {
    const { tensors } = await decodeTensorFile(memoryFile('codec', bytes));
    const parts = { name: 'hidden', config: given, tensors, sampleTensors: new Map() };
    const codec = HiddenCodec.fromParts(parts, loadKernels());
    if (codec.config.width > MOST_CLASSES) return;
    codec.decodeGroup(new Uint8Array(99).fill(0xa5), 2, new Float32Array(2 * codec.config.width));
  };
  const codecFile = files.get('codec.safetensors');
  add('hidden states, tensors', 'safetensors', [codecFile], (bytes) => load(bytes, config));
  add('hidden states, config', 'json', [Buffer.from(JSON.stringify(config))], async (bytes) => {
    const given = parseJson('manifest.json', 'codec.config', bytes);
    if (isJsonObject(given)) await load(codecFile, given);
  });
}

/** Side data in blocks: every file of an archive with them, read with and without checksums, and verified. */
function addSampleBlocks(add) {
  const folder = fileURLToPath(new URL('../golden/archives/transform-blocks', import.meta.url));
  const files = new Map(readdirSync(folder).map((f) => [f, readFileSync(path.join(folder, f))]));
  for (const [name, bytes] of files) {
    const kind = name.endsWith('.json') ? 'json' : 'safetensors';
    for (const verify of ['block', 'none']) {
      add(`side data, ${name}, ${verify}`, kind, [bytes], async (given) => {
        const store = memoryStore(new Map([...files, [name, given]]));
        if (verify === 'block') await verifyArchive(store);
        const archive = await openArchive(store, { verify });
        try {
          const count = Math.min(archive.samples, 64);
          if (archive.classes <= MOST_CLASSES) await archive.labels(0, { start: 0, count });
        } finally {
          await archive.close();
        }
      });
    }
  }
}

/** Verification goes on after the first damage: it meets bytes that readers refuse before. */
function addTrust(add) {
  const folder = path.join(corpus, 'archives/vqae');
  const files = new Map(readdirSync(folder).map((f) => [f, readFileSync(path.join(folder, f))]));
  const replaced = (name) => (bytes) =>
    verifyArchive(memoryStore(new Map([...files, [name, bytes]])));
  for (const [name, bytes] of files) {
    const kind = name.endsWith('.json') ? 'json' : 'safetensors';
    add(`verify ${name}`, kind, [bytes], replaced(name), 0.2);
  }
  const marks = filesIn('unfinished');
  const mark = (bytes) => verifyArchive(memoryStore(new Map([['unfinished.json', bytes]])));
  add('verify unfinished', 'json', marks, mark, 0.1);
  const log = (bytes) => {
    const all = [
      ['unfinished.json', marks[0]],
      ['codes-00000.safetensors.partial', bytes],
    ];
    return verifyArchive(memoryStore(new Map(all)));
  };
  add('verify log', 'bytes', filesIn('log'), log, 0.1);
  const { publicKey } = generateKeyPairSync('ed25519');
  const pem = Buffer.from(publicKey.export({ type: 'spki', format: 'pem' }));
  const signed = (signature) => memoryStore(new Map([...files, ['manifest.json.sig', signature]]));
  const seed = Buffer.alloc(64, 7);
  add('signature', 'bytes', [seed], (bytes) => verifySignature(signed(bytes), pem), 0.1);
  add('key', 'bytes', [pem], (bytes) => verifySignature(signed(seed), bytes), 0.1);
}

/** The codec's file, as if its recorded hash were that of the mutant; and its config. */
function addCodec(add, name, files, kernels) {
  const manifest = JSON.parse(files.get('manifest.json').toString());
  const { config } = manifest.codec;
  const decode = (tensors, given) => {
    const parts = { name: manifest.codec.name, config: given, tensors, sampleTensors: new Map() };
    const codec = loadCodec(parts, kernels);
    try {
      const row = new Uint8Array(1 << 16).fill(0xa5);
      if (codec.classes <= MOST_CLASSES) decodeLabel(codec, row);
    } finally {
      codec.dispose();
    }
  };
  const codecFile = [...files.keys()].find((file) => file === 'codec.safetensors');
  const bytes = codecFile === undefined ? undefined : files.get(codecFile);
  const read = async (given) =>
    given === undefined ? new Map() : (await decodeTensorFile(memoryFile('codec', given))).tensors;
  if (bytes !== undefined) {
    add(`${name} codec file`, 'safetensors', [bytes], async (given) =>
      decode(await read(given), config),
    );
  }
  add(`${name} config`, 'json', [Buffer.from(JSON.stringify(config))], async (given) => {
    const changed = parseJson('manifest.json', 'codec.config', given);
    // A manifest whose config is no object has been refused by then.
    if (isJsonObject(changed)) decode(await read(bytes), changed);
  });
}

function decodeLabel(codec, row) {
  const four = Float32Array.of(0, 0, 1, 1);
  const [crop, flip, box] = [{ crop: four, otherCrop: four }, Uint8Array.of(1), four];
  const placesIn = () => ({ ...crop, flip, otherFlip: flip, box });
  const augmentation = { partner: Uint32Array.of(0), lambda: Float32Array.of(0.5), placesIn };
  const context = { epoch: 0, samples: { start: 0, count: 1 }, augmentation };
  const out = new Float32Array(codec.classes);
  codec.decode({ row, labels: { start: 0, count: 1 }, context, out });
}

function addImages(add, work) {
  for (const name of readdirSync(path.join(corpus, 'images'))) {
    const folder = path.join(work, `images-${name}`);
    cpSync(path.join(corpus, 'images', name), folder, { recursive: true });
    for (const file of readdirSync(folder)) {
      const original = readFileSync(path.join(folder, file));
      const kind = file.endsWith('.json') ? 'json' : 'safetensors';
      add(
        `${name} images, ${file}`,
        kind,
        [original],
        async (bytes) => {
          writeFileSync(path.join(folder, file), bytes);
          try {
            const { description, count } = await openImages(folder);
            if (count > MOST_IMAGES) return;
            const reader = await openImageReader(description);
            try {
              await reader.read(Uint32Array.of(0, count - 1));
            } finally {
              reader[Symbol.dispose]();
            }
          } finally {
            writeFileSync(path.join(folder, file), original);
          }
        },
        0.03,
      );
    }
  }
}

/** Encoded images by format; those that declare many pixels are left to the tests of sizes. */
function addImageFiles(add) {
  const file = new URL('../images/pil-kinds.json', import.meta.url);
  const { kinds } = JSON.parse(readFileSync(file, 'utf8'));
  for (const extension of ['bmp', 'gif', 'pgm', 'ppm', 'tif', 'png', 'jpg', 'webp']) {
    const names = Object.keys(kinds).filter((name) => name.endsWith(`.${extension}`));
    const seeds = names.map((name) => Buffer.from(kinds[name].file, 'base64'));
    add(
      `image.${extension}`,
      'bytes',
      seeds.filter(({ length }) => length < 4096),
      async (bytes) => {
        await decodeImage(bytes, `image.${extension}`);
      },
      0.1,
    );
  }
}

/** Whole teachers: slow, so a small share. */
function addModels(add, work) {
  const description = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3] };
  for (const [name, file, backend] of [
    ['layers-model', 'model.json', 'cpu'],
    ['graph-model', 'model.json', 'cpu'],
    ['onnx-nchw', 'model.onnx', 'auto'],
  ]) {
    const folder = path.join(work, name);
    cpSync(path.join(corpus, 'models', name), folder, { recursive: true });
    const original = readFileSync(path.join(folder, file));
    const kind = file.endsWith('.json') ? 'json' : 'bytes';
    const load = async (bytes) => {
      writeFileSync(path.join(folder, file), bytes);
      const teacher = await loadTeacher(path.join(folder, file), { backend, description });
      try {
        const [height, width] = teacher.size;
        if (height * width <= 4096) await teacher.logits(new Float32Array(height * width * 3));
      } finally {
        teacher[Symbol.dispose]();
      }
    };
    add(name, kind, [original], load, 0.002);
  }
}

function memoryFile(name, bytes) {
  return {
    name,
    size: bytes.length,
    async read(offset, into) {
      if (offset < 0 || offset + into.length > bytes.length) {
        throw new SoftpackError('INVALID_FILE', 'file ends early', { field: `${name}: size` });
      }
      into.set(bytes.subarray(offset, offset + into.length));
    },
    async close() {},
  };
}

function memoryStore(files) {
  return {
    name: 'archive',
    async open(key) {
      const bytes = files.get(key);
      if (bytes === undefined) throw new SoftpackError('NOT_FOUND', 'no such file', { field: key });
      return memoryFile(`archive/${key}`, bytes);
    },
  };
}
