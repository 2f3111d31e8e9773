// Labels per second of the Python package, with and without its library, next to the program of docs/codecs.md in plain
// NumPy and to torch.load of the same labels as SRe2L keeps them:
//   SOFTPACK_PYTHON=python node bench/python.mjs
//
// 1,000 classes; VQAE (50, 128) of random logits, seed 1. Batches of 64 samples drawn at random, seed 0; medians of 7
// rounds of 20 batches, least and most in brackets. One thread; seconds are those of the processor.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { torchFileOf } from '#src/container/torch/write.js';
import { RandomSequence } from '#src/core/random.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { packLogits } from '#src/pipeline/pack.js';

const [CLASSES, SAMPLES, BATCH] = [1000, 4096, 64];
const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'softpack-python-'));
try {
  const random = new RandomSequence(1, 4);
  const logits = Float32Array.from({ length: SAMPLES * CLASSES }, () => 3 * random.normal());
  const source = memoryLabelSource(logits, { epochs: 1, samples: SAMPLES, classes: CLASSES });
  const out = path.join(folder, 'archive');
  const codec = { name: 'vqae', dh: 100, dc: 2, k: 128 };
  await packLogits({ source, out, codec, labels: 'logits', training: { steps: 5, seed: 1 } });
  for (let b = 0; b < 20; b++) {
    const labels = new Uint16Array(BATCH * CLASSES).fill(0x3c00);
    const data = new Uint8Array(labels.buffer);
    const file = torchFileOf([
      null,
      null,
      null,
      null,
      null,
      { dtype: 'F16', shape: [BATCH, CLASSES], data },
    ]);
    writeFileSync(path.join(folder, `batch_${b}.tar`), file);
  }
  const [, plain] = /<!-- generated: numpy -->\n```python\n(.*?)```/s.exec(
    readFileSync(path.join(root, 'docs/codecs.md'), 'utf8'),
  );
  writeFileSync(path.join(folder, 'plain.py'), plain);
  const env = {
    ...process.env,
    ...{ OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1', MKL_NUM_THREADS: '1' },
    PYTHONPATH: `${path.join(root, 'python')}:${folder}`,
    SOFTPACK_LABELS_LIBRARY: path.join(folder, 'labels.so'),
  };
  const python = process.env.SOFTPACK_PYTHON ?? 'python3';
  execFileSync(python, ['-m', 'softpack_labels.build', '--source', root], { env });
  const script = fileURLToPath(new URL('python_labels.py', import.meta.url));
  execFileSync(python, [script, folder], { env, stdio: 'inherit' });
} finally {
  rmSync(folder, { recursive: true });
}
