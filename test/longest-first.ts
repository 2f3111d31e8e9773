import { statSync } from 'node:fs';
import { relative } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** The files that take seconds, longest first. The order only saves time: a stale entry does no harm. */
const LONGEST = [
  'test/cuda/module.slow.test.ts',
  'test/native/cross.slow.test.ts',
  'test/faults/errors.slow.test.ts',
  'test/faults/kills.slow.test.ts',
  'test/cuda/race.slow.test.ts',
  'test/kernels/sanitized-addon.slow.test.ts',
  'test/package/clients.slow.test.ts',
  'test/faults/append.slow.test.ts',
  'test/package/publish.slow.test.ts',
  'test/nn/parity.slow.test.ts',
  'test/nn/tensorflow-install.slow.test.ts',
  'test/pipeline/job.slow.test.ts',
  'test/bench/bench.slow.test.ts',
  'test/pipeline/queue.slow.test.ts',
  'test/pipeline/job-kill.slow.test.ts',
  'test/faults/two-writers.slow.test.ts',
  'test/cuda/emulated.slow.test.ts',
  'test/cuda/sass.slow.test.ts',
  'test/cuda/emulated.test.ts',
  'test/cuda/states.test.ts',
  'test/faults/kills.test.ts',
  'test/faults/errors.test.ts',
  'test/faults/append.test.ts',
  'test/python/labels.test.ts',
  'test/archive/interruption.test.ts',
  'test/loader/stream.test.ts',
  'test/examples/examples.test.ts',
  'test/pipeline/cache-labels.test.ts',
  'test/loader/workers.test.ts',
  'test/cli/cli.test.ts',
  'test/kernels/isa.test.ts',
  'test/cli/cache.test.ts',
  'test/pipeline/label-views.test.ts',
  'test/cli/loader-commands.test.ts',
  'test/codecs/baselines.test.ts',
];

/** Starts the longest files first, so that no worker ends with a long one alone; then larger files before smaller ones. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = (file: TestSpecification) => {
      const at = LONGEST.indexOf(relative(this.ctx.config.root, file.moduleId));
      return at < 0 ? LONGEST.length : at;
    };
    const size = new Map(files.map((file) => [file, statSync(file.moduleId).size]));
    const bytes = (file: TestSpecification) => size.get(file) ?? 0;
    return files.toSorted((a, b) => rank(a) - rank(b) || bytes(b) - bytes(a));
  }
}
