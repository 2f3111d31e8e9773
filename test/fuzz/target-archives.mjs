// Archives of labels of images: every file of each, their codecs, and what verification reads.

import { generateKeyPairSync } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { openArchive } from '#src/archive/archive.js';
import { loadCodec } from '#src/codecs/registry.js';
import { verifySignature } from '#src/container/signature.js';
import { decodeTensorFile } from '#src/container/tensor-file.js';
import { isJsonObject, parseJson } from '#src/core/json.js';
import { loadKernels } from '#src/kernels/load.js';
import { verifyArchive } from '#src/pipeline/verify.js';
import { corpus, filesIn, MOST_CLASSES, memoryFile, memoryStore } from './target-inputs.mjs';

export function addArchives(add) {
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

/** Side data in blocks: every file of an archive with them, read with and without checksums, and verified. */
export function addSampleBlocks(add) {
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
export function addTrust(add) {
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
