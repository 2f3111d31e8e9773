// Files of PyTorch and whole teachers.

import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { readTorchFile } from '#src/container/torch/open.js';
import { stateDictOf } from '#src/container/torch/state-dict.js';
import { loadTeacher } from '#src/nn/teachers/load.js';
import { corpus, memoryFile } from './target-inputs.mjs';

export function addTorch(add) {
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

/** Whole teachers: slow, so a small share. */
export function addModels(add, work) {
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
