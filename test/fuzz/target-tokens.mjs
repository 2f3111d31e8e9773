// Archives of language models' labels.

import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { decodeTensorFile } from '#src/container/tensor-file.js';
import { isJsonObject, parseJson } from '#src/core/json.js';
import { loadKernels } from '#src/kernels/load.js';
import { openHiddenArchive } from '#src/tokens/hidden/hidden-archive.js';
import { HiddenCodec } from '#src/tokens/hidden/hidden-codec.js';
import { openTokenArchive } from '#src/tokens/token-archive.js';
import { TokenCodec } from '#src/tokens/token-codec.js';
import { MOST_CLASSES, memoryFile, memoryStore } from './target-inputs.mjs';

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
export function addListed(add, name) {
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

/** Archives of hidden states: their files, and their codecs as if the recorded hash were that of the mutant. */
export function addHidden(add, name) {
  const files = addTokenFiles(add, name, name, openHiddenArchive);
  const { config } = JSON.parse(files.get('manifest.json').toString()).codec;
  const load = async (bytes, given) => {
    const { tensors } = await decodeTensorFile(memoryFile('codec', bytes));
    const parts = { name: 'hidden', config: given, tensors, sampleTensors: new Map() };
    const codec = HiddenCodec.fromParts(parts, loadKernels());
    if (codec.config.width > MOST_CLASSES) return;
    codec.decodeGroup(new Uint8Array(99).fill(0xa5), 2);
  };
  const codecFile = files.get('codec.safetensors');
  add(`${name}, tensors`, 'safetensors', [codecFile], (bytes) => load(bytes, config));
  add(`${name}, config`, 'json', [Buffer.from(JSON.stringify(config))], async (bytes) => {
    const given = parseJson('manifest.json', 'codec.config', bytes);
    if (isJsonObject(given)) await load(codecFile, given);
  });
}
