/**
 * Labels that the decoder of docs/codecs.md gives, by NumPy: PYTHON=python3 node test/codecs/golden/make-numpy.mjs
 * (a Python with NumPy, after `npm run build`). Writes numpy.json: codes and tensors of small codecs of every kind,
 * the labels, and the hash of the decoder that made them.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { numpyDecoder } from '#apps/docs/codec-docs.js';
import { CODECS } from '#src/codecs/registry.js';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';
import { loadKernels } from '#src/kernels/load.js';
import { softmaxRows } from '#src/labels/temperature.js';

const [classes, count, tau] = [9, 60, 2];
const random = new RandomSequence(5, STREAM.codec);
const logits = Float32Array.from({ length: classes * count }, () => 3 * random.normal());
const labels = new Float32Array(logits.length);
softmaxRows(logits, count, classes, tau, labels);

const CHOICES = [
  { name: 'vqae', dh: 6, dc: 2, k: 8 },
  { name: 'topk', k: 3 },
  { name: 'topk', k: 3, rest: 'zero' },
  { name: 'topk', k: 2, values: 'logits' },
  { name: 'topk', k: 1, values: 'none' },
  { name: 'pca', k: 4 },
  { name: 'rpca', k: 4 },
  { name: 'vq', dc: 4, k: 16 },
  { name: 'scalar', levels: 8 },
  { name: 'none' },
  { name: 'none', store: 'probabilities' },
];
const KEPT = 5;

const cases = [];
for (const choice of CHOICES) {
  const { codec } = await CODECS.train(choice, {
    ...{ classes, samples: count, labels: count, tau, eps: 1e-6, kernels: loadKernels() },
    ...{ draw: async () => labels.slice(), scan: async (visit) => visit(0, labels) },
    training: { steps: 20 },
  });
  const context = { epoch: 0, samples: { start: 0, count: KEPT } };
  const row = await codec.encode(logits.subarray(0, KEPT * classes), context);
  const { name, config, tensors } = codec.parts();
  const encoded = [...tensors].map(([key, { dtype, shape, data }]) => [
    key,
    { dtype, shape, data: Buffer.from(data).toString('base64') },
  ]);
  cases.push({
    choice,
    ...{ name, config, row: Buffer.from(row).toString('base64') },
    tensors: Object.fromEntries(encoded),
  });
}

const driver = `
import base64, json, sys
for case in json.load(sys.stdin):
    bytes_of = lambda text: np.frombuffer(base64.b64decode(text), np.uint8)
    dtypes = {'F32': np.float32, 'F16': np.float16}
    t = {k: bytes_of(v['data']).view(dtypes[v['dtype']]).reshape(v['shape']) for k, v in case['tensors'].items()}
    y = decode(case['name'], bytes_of(case['row']), ${KEPT}, case['config'], t)
    print(json.dumps([float(f'{v:.9g}') for v in y.ravel()]))
`;
const decoder = numpyDecoder();
const out = execFileSync(process.env.PYTHON ?? 'python3', ['-c', decoder + driver], {
  input: JSON.stringify(cases),
});
const lines = out.toString().trim().split('\n');
const golden = {
  decoder: createHash('sha256').update(decoder).digest('hex'),
  classes,
  count: KEPT,
  cases: cases.map((item, i) => ({ ...item, labels: JSON.parse(lines[i]) })),
};
writeFileSync(new URL('numpy.json', import.meta.url), `${JSON.stringify(golden)}\n`);
