import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/longest-first.js';

const SLOW = 'test/**/*.slow.test.ts';

/**
 * Tests that only call functions: their files share processes, which saves each file half a second. All others have
 * state of a process (TensorFlow.js, environment variables, signals, child processes) and get a process per file.
 */
const SHARED = [
  'test/{augment,codecs,container,core,images,interop,kernels,labels,planner,report,store}/**/*.test.ts',
  'test/archive/{archive,flips,labels,manifest,merge,parts,rectangles,remote-shards,repair,sample-blocks}.test.ts',
  'test/archive/{tau-schedule,tensor-blocks,verify,writer}.test.ts',
  'test/cli/codec-options.test.ts',
  'test/loader/{bench,empty,labels-ahead,order,plan,remote,sources}.test.ts',
  'test/pipeline/{append-samples,contradictions,copy,diff,keep,kept-epochs,label-filter,mixed-views,open-archive}.test.ts',
  'test/pipeline/{pack,pack-resume,parts,pilot,preflight,provenance,pruned,pruned-context,runner,temperatures}.test.ts',
  'test/tokens/**/*.test.ts',
];

export default defineConfig(({ mode }) => ({
  test: {
    // Native code and TensorFlow.js keep process state: processes, never threads.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    // Tests of the block cache have folders of their own; no test writes to the user's.
    env: { SOFTPACK_CACHE_BYTES: '0' },
    hookTimeout: 60_000,
    // The tests run the compiled package in dist/, exactly as users import it.
    server: { deps: { external: [/\/dist\//] } },
    sequence: { sequencer: LongestFirst },
    reporters: ['default', './test/summary-reporter.ts'],
    // `npm run test:slow` sets the mode. Without it, the files of the slow suite are left out.
    projects:
      mode === 'slow'
        ? [{ extends: true, test: { name: 'slow', include: [SLOW] } }]
        : [
            {
              extends: true,
              test: { name: 'process', include: ['test/**/*.test.ts'], exclude: [SLOW, ...SHARED] },
            },
            {
              extends: true,
              test: { name: 'shared', isolate: false, include: SHARED, exclude: [SLOW] },
            },
          ],
  },
}));
