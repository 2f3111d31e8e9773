import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    // Native code and TensorFlow.js keep process state: one process a file, never a thread.
    pool: 'forks',
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // The tests run the compiled package in dist/, exactly as users import it.
    server: { deps: { external: [/\/dist\//] } },
    reporters: ['default', './test/summary-reporter.ts'],
  },
});
