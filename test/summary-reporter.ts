import type { Reporter, TestCase, TestModule } from 'vitest/node';

const SLOWEST = 10;

/** Prints every skipped test with its reason, the slowest tests, and as the last line `N passed, N failed, N skipped`. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const count = { passed: 0, failed: errors.length, skipped: 0, pending: 0 };
    for (const module of modules) {
      let failedInModule = 0;
      for (const test of module.children.allTests()) {
        const result = test.result();
        count[result.state] += 1;
        if (result.state === 'failed') failedInModule += 1;
        if (result.state === 'skipped') {
          console.log(`skipped: ${test.fullName} (${result.note ?? 'no reason given'})`);
        }
      }
      // A module that failed outside its tests (an import error, a hook) counts as one failure.
      if (module.state() === 'failed' && failedInModule === 0) count.failed += 1;
    }
    console.log(slowest(modules.flatMap((module) => [...module.children.allTests()])));
    // Tests that never ran because the run was cut off are failures, not silence.
    console.log(
      `${count.passed} passed, ${count.failed + count.pending} failed, ${count.skipped} skipped`,
    );
  }
}

function slowest(tests: readonly TestCase[]): string {
  const lines = tests
    .map((test) => ({ test, milliseconds: test.diagnostic()?.duration ?? 0 }))
    .sort((a, b) => b.milliseconds - a.milliseconds)
    .slice(0, SLOWEST)
    .map(({ test, milliseconds }) => {
      const seconds = (milliseconds / 1000).toFixed(1).padStart(7);
      return `${seconds} s  ${test.module.relativeModuleId}: ${test.fullName}`;
    });
  return ['slowest tests:', ...lines].join('\n');
}
