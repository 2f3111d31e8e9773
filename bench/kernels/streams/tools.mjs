import { execFileSync } from 'node:child_process';

/** Numbers in [0, 1) that depend on the seed alone. */
export function randomSequence(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** The Python of the rivals, SOFTPACK_BENCH_PYTHON or else python3, and the versions of its packages. */
export function python() {
  const program = process.env.SOFTPACK_BENCH_PYTHON ?? 'python3';
  if (program === '') throw new Error('SOFTPACK_BENCH_PYTHON is empty');
  const versionOf = (name) => {
    const code = `import importlib.metadata as m; print(m.version('${name}'))`;
    try {
      return execFileSync(program, ['-c', code], { encoding: 'utf8', stdio: 'pipe' }).trim();
    } catch {
      return undefined;
    }
  };
  return { program, versionOf };
}
