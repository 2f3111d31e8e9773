import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { openArchive as openDecoding } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { CODECS, labelsOf, logitArchive, packed, worst } from '../python/fixture.js';
import { floatsOf, hasModule, python } from '../python/python.js';
import { temporaryDirectory } from '../temporary.js';
import { BUILD_TIMEOUT, missingTools, nativeTestPrograms, root } from './build.js';

const temporary = await temporaryDirectory();
const program = fileURLToPath(new URL('torch_check.py', import.meta.url));

test(
  'PyTorch trains on labels of the CUDA module, emulated: torch in float64 is the reference',
  async (context) => {
    const lacking = missingTools();
    if (lacking !== undefined) context.skip(lacking);
    context.skip(!hasModule('torch'), `${python} has no torch; name one by SOFTPACK_PYTHON`);
    const source = await logitArchive(temporary.path('logits'), {
      grid: { epochs: 2, samples: 11 },
    });
    const archive = await packed(source, temporary.path('vqae'), CODECS[0]);
    const augmentation = {
      ...{ generator: 'philox4x32-10', seed: 3, size: [12, 11], flip: 0.5 },
      crop: { scale: [0.5, 1], ratio: [3 / 4, 4 / 3] },
      mix: { kind: 'cutmix', alpha: 1, probability: 0.8 },
    } as const;
    const [mixed, seen] = ['mixed', 'seen'].map(temporary.path);
    const codec = { step: 0.5, states: 8, bases: true } as const;
    const whole = await logitArchive(temporary.path('to-mix'));
    await packLogits({
      ...{ source: whole, out: mixed, augmentation },
      codec: { ...codec, name: 'transform', labelsPerBlock: 16 },
    });
    await packLogits({
      ...{ source: whole, out: seen, augmentation },
      codec: { ...codec, name: 'predictive', network: true },
    });
    const module = join(nativeTestPrograms(), 'softpack_cuda_emulated.so');
    const found = JSON.parse(
      execFileSync(python, [program, archive, module, mixed, seen], {
        encoding: 'utf8',
        env: { ...process.env, PYTHONPATH: `${root}python`, PYTHONDONTWRITEBYTECODE: '1' },
      }),
    );
    expect((found.labels as string[]).map(floatsOf)).toEqual(await labelsOf(archive));
    expect(found).toMatchObject({
      ...{ 'labels torch.float16': true, 'labels torch.bfloat16': true, 'no gradient': true },
      ...{ nothing: [[0, 9], 0], 'in place': true, 'after it': true },
      'host memory': ['INVALID_ARGUMENT', 'decode'],
      'small workspace': ['NATIVE_FAILED', 'decode'],
      'wrong label': ['INVALID_ARGUMENT', 'codes'],
      'before another workspace': ['INVALID_ARGUMENT', 'codes'],
      'before another stream': ['INVALID_ARGUMENT', 'codes'],
      'after them': true,
    });
    {
      await using opened = await openDecoding(mixed);
      const all = { start: 0, count: opened.samples };
      for (const epoch of [0, 1, 2]) {
        const own = await opened.labels(epoch, all);
        const cooler = await opened.labels(epoch, all, { tau: 1.5 });
        expect(worst(floatsOf(found.transform.None[epoch]), own)).toBeLessThan(1e-6);
        expect(worst(floatsOf(found.transform['1.5'][epoch]), cooler)).toBeLessThan(4e-6);
      }
    }
    expect(found).toMatchObject({
      "transform of a GPU's ids": true,
      'transform in place': true,
      'transform of a wrong label': ['INVALID_ARGUMENT', 'codes'],
    });
    expect(found['tokens in workspaces']).toEqual([true, true]);
    expect(found['small workspace of hidden states']).toEqual(['NATIVE_FAILED', 'labels']);
    expect(found.tokens).toHaveLength(14);
    for (const [loss, slope] of found.tokens as [number, number][]) {
      expect(loss).toBeLessThan(4e-6);
      expect(slope).toBeLessThan(1e-6);
    }
    expect(Object.keys(found.kl)).toHaveLength(18);
    expect(Object.keys(found['transform kl'])).toHaveLength(4);
    const losses = [...Object.entries(found.kl), ...Object.entries(found['transform kl'])];
    for (const [name, [loss, slope]] of losses as [string, [number, number]][]) {
      // Half a unit in the last place, twice: the kept gradient and its multiple.
      const unit = name.includes('bfloat16') ? 2 ** -8 : name.includes('float16') ? 2 ** -11 : 4e-6;
      expect(loss, name).toBeLessThan(4e-6);
      expect(slope, name).toBeLessThan(2 * unit);
    }
    expect(Math.max(...found['kl in place'])).toBeLessThan(4e-6);
    expect(found.scaled).toBeLessThan(2 ** -9);
    const invalid = (field: string) => ['INVALID_ARGUMENT', field];
    expect(found.refused).toEqual({
      ...{ 'damaged block': invalid('codes'), 'no block': invalid('codes') },
      ...{ 'no mixes': invalid('mixes'), 'short mixes': invalid('mixes') },
      'label tau': invalid('tau'),
      ...{ 'token id': invalid('labels'), 'token tau': invalid('tau') },
      'token divergence': ['UNSUPPORTED', 'divergence'],
      'token no divergence': invalid('divergence'),
      ...{ 'token beta': invalid('beta'), 'token no prior': invalid('prior') },
      ...{ 'token short prior': invalid('prior'), 'token wrong prior': invalid('labels') },
      'token prior of none': invalid('prior'),
      ...{ 'token logits': invalid('logits'), 'token head': invalid('head') },
      ...{ 'token half a correction': invalid('corrections') },
      ...{ 'token corrections': invalid('corrections') },
      'transform negative': invalid('samples'),
      'transform beyond': invalid('samples'),
      'transform float': invalid('samples'),
      ...{ 'token labels': invalid('ids'), 'hidden width': invalid('hidden') },
      'tau of vqae': ['UNSUPPORTED', 'tau'],
      network: ['UNSUPPORTED', 'codec'],
      ...{ label: invalid('samples'), negative: invalid('samples'), float: invalid('samples') },
      ...{ epoch: invalid('epoch'), shape: invalid('logits'), type: invalid('logits') },
      ...{ out: invalid('out'), strided: invalid('out'), tau: invalid('tau') },
      ...{ loss: invalid('loss'), codes: invalid('codes'), place: invalid('codes') },
      precision: invalid('precision'),
      module: ['BACKEND_UNAVAILABLE', 'module'],
      'other file': ['BACKEND_UNAVAILABLE', 'module'],
      codec: ['UNSUPPORTED', 'codec'],
    });
    expect(found['no GPU'] ?? ['BACKEND_UNAVAILABLE', 'device']).toEqual([
      ...['BACKEND_UNAVAILABLE', 'device'],
    ]);
  },
  BUILD_TIMEOUT,
);
