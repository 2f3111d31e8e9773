// Every parser of untrusted bytes, as a function that either returns or throws a SoftpackError.

import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { addArchives, addSampleBlocks, addTrust } from './target-archives.mjs';
import { addImageFiles, addImages } from './target-images.mjs';
import { addModels, addTorch } from './target-models.mjs';
import { addHeaders, addTexts } from './target-texts.mjs';
import { addHidden, addListed } from './target-tokens.mjs';

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
  for (const name of ['hidden', 'hidden-exact']) addHidden(add, name);
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
