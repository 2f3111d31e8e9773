import { spawnSync } from 'node:child_process';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../temporary.js';
import { BUILD_TIMEOUT, missingTools, nativeTestPrograms, root } from './build.js';

const lacking = missingTools();
const temporary = await temporaryDirectory();

interface Results {
  readonly device: string;
  readonly steps: readonly { name: string; state: string; seconds: number; words: string }[];
  readonly softpack: { rows: unknown[] } | null;
  readonly node: { rows: unknown[] } | null;
  readonly peers: unknown;
}

// On the emulated module: neither a GPU nor a compiler takes part.
describe('bench/cuda.sh', () => {
  const run = async (
    name: string,
    emulation: string,
    options: string[] = [],
    script = `${root}bench/cuda.sh`,
  ) => {
    const programs = nativeTestPrograms();
    const out = temporary.path(name);
    const { status, stdout, stderr } = spawnSync(
      'bash',
      [script, '--out', out, '--labels', '8', ...options],
      {
        encoding: 'utf8',
        env: {
          PATH: process.env.PATH,
          SOFTPACK_EMULATION: emulation,
          SOFTPACK_CUDA_MODULE: join(programs, 'softpack_cuda_emulated.so'),
          SOFTPACK_CUDA_CHECK: join(programs, 'native_cuda_check'),
        },
      },
    );
    const results = JSON.parse(await readFile(join(out, 'results.json'), 'utf8')) as Results;
    const states = Object.fromEntries(results.steps.map(({ name: own, state }) => [own, state]));
    return { status, stdout, stderr, results, states };
  };

  it(
    'ends cleanly without a GPU, and says so',
    async ({ skip }) => {
      if (lacking !== undefined) skip(lacking);
      const notes = temporary.path('absent/notes.txt');
      await mkdir(temporary.path('absent'));
      await writeFile(notes, 'kept');
      const { status, stdout, stderr, results, states } = await run('absent', 'absent');
      expect(await readFile(notes, 'utf8')).toBe('kept');
      expect([status, stderr]).toEqual([0, '']);
      expect(stdout).toMatch(/check: no GPU: no device: .*CUDA error 35/);
      expect(stdout).toMatch(/no GPU: nothing was measured\n$/);
      expect(states).toMatchObject({ build: 'skipped', check: 'no GPU' });
      expect(results).toMatchObject({ softpack: null, node: null, peers: null });
    },
    BUILD_TIMEOUT,
  );

  it(
    'runs its steps, each with its result, and tells failures and what there was no time for',
    async ({ skip }) => {
      if (lacking !== undefined) skip(lacking);
      const whole = await run('ready', 'ready');
      expect([whole.status, whole.stderr]).toEqual([0, '']);
      expect(whole.states).toMatchObject({ check: 'done', timings: 'done', node: 'done' });
      expect(whole.results.softpack?.rows).toHaveLength(33);
      expect(whole.results.node?.rows).toHaveLength(2);
      const broken = await run('broken', 'ready,launch:40');
      expect(broken.status).toBe(1);
      expect(broken.states).toMatchObject({ check: 'failed', timings: 'failed' });
      const late = await run('late', 'ready', ['--seconds', '0']);
      expect(late.states).toMatchObject({ check: 'skipped', timings: 'skipped' });
      const refused = [
        [['--wat', '1'], /unknown option --wat/],
        [['--labels', '8', '--out'], /^--out: an option and its value/],
      ] as const;
      for (const [options, reason] of refused) {
        const found = spawnSync('bash', [`${root}bench/cuda.sh`, ...options], { encoding: 'utf8' });
        expect([found.status, found.stderr]).toEqual([2, expect.stringMatching(reason)]);
      }
    },
    BUILD_TIMEOUT,
  );

  it(
    'packs a folder under 60 MB that runs without git, Node.js and network',
    async ({ skip }) => {
      if (lacking !== undefined) skip(lacking);
      const programs = nativeTestPrograms();
      const pack = temporary.path('pack');
      const env = {
        ...process.env,
        SOFTPACK_CUDA_MODULE: join(programs, 'softpack_cuda_emulated.so'),
        SOFTPACK_CUDA_CHECK: join(programs, 'native_cuda_check'),
      };
      const packed = spawnSync('bash', [`${root}bench/cuda.sh`, '--pack', pack], {
        encoding: 'utf8',
        env,
      });
      expect([packed.status, packed.stderr]).toEqual([0, '']);
      // A PATH of what every Linux has.
      const bin = temporary.path('bin');
      await mkdir(bin);
      const tools =
        'bash cat chmod cut date dirname find grep gzip head mkdir mv rm sed tail timeout tr';
      for (const tool of tools.split(' ')) {
        const place = spawnSync('which', [tool], { encoding: 'utf8' }).stdout.trim();
        if (place !== '') await symlink(place, join(bin, tool));
      }
      const { status, stdout } = spawnSync(
        join(bin, 'bash'),
        [join(pack, 'bench/cuda.sh'), '--labels', '8'],
        {
          encoding: 'utf8',
          env: { PATH: bin, SOFTPACK_EMULATION: 'ready' },
        },
      );
      expect(stdout).toMatch(/node: done: equal bytes/);
      expect(status).toBe(0);
      const text = await readFile(join(pack, 'build-cuda/evidence/results.json'), 'utf8');
      expect((JSON.parse(text) as Results).node?.rows).toHaveLength(2);
      expect(JSON.parse(text)).toMatchObject({
        commit: expect.stringMatching(/^([0-9a-f]{40}|unknown)$/),
      });
    },
    BUILD_TIMEOUT,
  );
});
