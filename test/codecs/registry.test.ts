import { Command } from 'commander';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { addCodecOptions, type CodecFlags, codecOf } from '#src/cli/codec-options.js';
import { CODECS, type CodecChoice, type SizedChoice } from '#src/codecs/registry.js';
import { loadKernels } from '#src/kernels/load.js';
import { labelDivergence } from '#src/labels/divergence.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { softmaxRows } from '#src/labels/temperature.js';
import { packLogits } from '#src/pipeline/pack.js';
import { planLabels } from '#src/planner/plan.js';
import { temporaryDirectory } from '../temporary.js';
import { syntheticLogits } from './labels.js';
import { ROUNDED } from './toy.js';

const directory = await temporaryDirectory();
const shape = { epochs: 2, samples: 25, classes: 14 };
const context = { classes: 14, labels: 50, samples: 25, tau: 20, eps: 1e-6 };

describe('a codec of two files: its descriptor and a line of the registry', () => {
  const codecs = CODECS.with(ROUNDED);

  test('packs, and its archive decodes', async () => {
    const logits = syntheticLogits(50, 14);
    const out = directory.path('rounded');
    const codec = { name: 'rounded', ratio: 2 } as unknown as CodecChoice;
    const source = memoryLabelSource(logits, shape);
    const packed = await packLogits({ source, out, codec, codecs, tau: 4 });
    expect(packed.codec.config).toMatchObject({ bits: 8 });
    expect(codecs.words(packed.codec)).toBe('rounded (bits 8)');
    await using archive = await openArchive(out);
    using loaded = codecs.load(archive.codecParts, loadKernels());
    const all = { start: 0, count: 25 };
    const decoded = new Float32Array(25 * 14);
    const row = await archive.readRow(1);
    loaded.decode({ row, labels: all, context: { epoch: 1, samples: all }, out: decoded });
    const labels = new Float32Array(25 * 14);
    softmaxRows(logits.subarray(25 * 14), 25, 14, 4, labels);
    for (const [i, value] of labels.entries()) {
      expect(Math.abs(decoded[i] - value)).toBeLessThan(14 / 255);
    }
    expect(labelDivergence(labels, decoded, 14).kl).toBeLessThan(0.02);
  });

  test('is planned', () => {
    const plan = planLabels(
      { classes: 100, ipc: 10, epochs: 50, imageBytes: 1, batch: 64, ratio: 3 },
      codecs,
    );
    const found = plan.codecs.find(({ name }) => name === 'rounded');
    expect(found).toMatchObject({ parameters: 'bits 5', bitsPerLabel: 500 });
  });

  test('has options on the command line', () => {
    const parse = (...args: string[]) => {
      const command = addCodecOptions(new Command().exitOverride(), codecs);
      return codecOf(command.parse(args, { from: 'user' }).opts<CodecFlags>(), codecs);
    };
    expect(parse('--codec', 'rounded', '--bits', '4')).toEqual({ name: 'rounded', bits: 4 });
    expect(parse('--codec', 'rounded', '--ratio', '4')).toEqual({ name: 'rounded', totalRatio: 4 });
    expect(() => parse('--codec', 'topk', '--bits', '4')).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', field: '--bits' }),
    );
    expect(addCodecOptions(new Command(), codecs).helpInformation()).toMatch(
      /--bits <n>\s+rounded: bits per class/,
    );
  });

  test('is checked with the others', () => {
    const problems = codecs.problemsOf({ name: 'rounded', bits: 40 }, { ...context, tau: -1 });
    expect(problems.map(({ field }) => field)).toEqual(['tau', 'bits']);
    const unknown = CODECS.problemsOf({ name: 'rounded', bits: 4 } as never, context);
    expect(unknown).toMatchObject([{ field: 'codec', found: 'rounded' }]);
  });
});

test('choices are as typed as their descriptors', () => {
  expectTypeOf<{ ratio: 40 }>().toExtend<CodecChoice>();
  expectTypeOf<{ name: 'topk'; k: 5; rest: 'zero' }>().toExtend<CodecChoice>();
  expectTypeOf<{ name: 'pca' | 'rpca'; k: number }>().toExtend<CodecChoice>();
  expectTypeOf<{ name: 'mean'; groups: Uint32Array }>().toExtend<CodecChoice>();
  expectTypeOf<{ name: 'topk'; levels: number }>().not.toExtend<CodecChoice>();
  expectTypeOf<{ name: 'topk'; k: 5; rest: 'none' }>().not.toExtend<CodecChoice>();
  expectTypeOf<{ name: 'ours'; k: 5 }>().not.toExtend<CodecChoice>();
  expectTypeOf<{ ratio: 40 }>().not.toExtend<SizedChoice>();
  expectTypeOf<Extract<SizedChoice, { name: 'vqae' }>>().toHaveProperty('dh');
  expectTypeOf<NonNullable<CodecChoice['name']>>().toEqualTypeOf<
    | 'vqae'
    | 'topk'
    | 'pca'
    | 'rpca'
    | 'vq'
    | 'scalar'
    | 'transform'
    | 'predictive'
    | 'none'
    | 'mean'
  >();
});
