import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { jobScript } from '#src/cli/job-scripts.js';

const ADDRESS = "/shared/it's a $HOME job";

/** What a shell passes to softpack, a line per argument; `parallel` runs the first of its tasks. */
function run(script: string, env: NodeJS.ProcessEnv = {}): readonly string[] {
  const stubs = [
    `softpack() { printf '%s\\n' "$@"; }`,
    `exec() { "$@"; }`,
    `parallel() { read i; shift 3; for a; do set -- "$@" "$(echo "$a" | sed "s/{}/$i/")"; shift; done; "$@"; }`,
  ];
  const input = [...stubs, script].join('\n');
  return execFileSync('bash', [], { input, env: { ...process.env, ...env } })
    .toString()
    .trim()
    .split('\n');
}

test('a task of a Slurm array takes its share', () => {
  const script = jobScript('slurm', ADDRESS, 64);
  expect(script).toContain('\n#SBATCH --array=0-63\n');
  const args = ['cache', 'run', ADDRESS, '--shard', '3/64'];
  expect(run(script, { SLURM_ARRAY_TASK_ID: '3' })).toEqual(args);
});

test('an index of a Kubernetes job takes its share', () => {
  const { spec } = parse(jobScript('kubernetes', 's3://bucket/labels', 8));
  expect(spec).toMatchObject({ completionMode: 'Indexed', completions: 8, parallelism: 8 });
  const [{ command }] = spec.template.spec.containers;
  const shard = '$(JOB_COMPLETION_INDEX)/8';
  expect(command).toEqual(['softpack', 'cache', 'run', 's3://bucket/labels', '--shard', shard]);
});

test('GNU parallel is between the codec and the last step', () => {
  expect(run(jobScript('parallel', ADDRESS, 4))).toEqual([
    ...['cache', 'codec', ADDRESS],
    ...['cache', 'run', ADDRESS, '--shard', '0/4'],
    ...['cache', 'finalize', ADDRESS],
  ]);
});
