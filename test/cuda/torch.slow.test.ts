import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { CODECS, labelsOf, logitArchive, packed } from '../python/fixture.js';
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
    const module = join(nativeTestPrograms(), 'softpack_cuda_emulated.so');
    const found = JSON.parse(
      execFileSync(python, [program, archive, module], {
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
    expect(Object.keys(found.kl)).toHaveLength(18);
    for (const [name, [loss, slope]] of Object.entries<[number, number]>(found.kl)) {
      // Half a unit in the last place, twice: the kept gradient and its multiple.
      const unit = name.includes('bfloat16') ? 2 ** -8 : name.includes('float16') ? 2 ** -11 : 4e-6;
      expect(loss, name).toBeLessThan(4e-6);
      expect(slope, name).toBeLessThan(2 * unit);
    }
    expect(Math.max(...found['kl in place'])).toBeLessThan(4e-6);
    expect(found.scaled).toBeLessThan(2 ** -9);
    const invalid = (field: string) => ['INVALID_ARGUMENT', field];
    expect(found.refused).toEqual({
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
