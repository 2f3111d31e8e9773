import { quoted } from './shell-quote.js';

/** Scripts that run a job on engines that people have. Each may be submitted again: what is there is skipped. */

export const ENGINES = ['slurm', 'kubernetes', 'parallel'] as const;
export type Engine = (typeof ENGINES)[number];

/** @param tasks processes that share the shards. */
export function jobScript(engine: Engine, address: string, tasks: number): string {
  return SCRIPTS[engine](address, tasks);
}

const SCRIPTS: Readonly<Record<Engine, (address: string, tasks: number) => string>> = {
  slurm: (address, tasks) =>
    [
      '#!/bin/bash',
      '# First: softpack cache codec, once. Then sbatch this file. Tasks that failed are made up for by the same array again, or by',
      `# sbatch --array=$(softpack cache missing ${quoted(address)}) with this file, a task per shard.`,
      '# Last: sbatch --dependency=afterany:ID of softpack cache finalize (afterok would wait forever if a task failed).',
      '#SBATCH --job-name=softpack',
      `#SBATCH --array=0-${tasks - 1}`,
      '#SBATCH --requeue',
      `exec softpack cache run ${quoted(address)} --shard "$SLURM_ARRAY_TASK_ID/$((\${SLURM_ARRAY_TASK_MAX:-${tasks - 1}} + 1))"`,
    ].join('\n'),
  // A JSON string is a YAML string too; $(NAME) is filled in by Kubernetes.
  kubernetes: (address, tasks) =>
    [
      '# First: softpack cache codec, once. Last: softpack cache finalize.',
      'apiVersion: batch/v1',
      'kind: Job',
      'metadata:',
      '  name: softpack',
      'spec:',
      '  completionMode: Indexed',
      `  completions: ${tasks}`,
      `  parallelism: ${tasks}`,
      '  backoffLimitPerIndex: 3',
      '  template:',
      '    spec:',
      '      restartPolicy: Never',
      '      containers:',
      '        - name: softpack',
      '          image: softpack # yours, with softpack, the teacher and the images',
      `          command: ["softpack", "cache", "run", ${JSON.stringify(address.replaceAll('$', '$$$$'))}, "--shard", "$(JOB_COMPLETION_INDEX)/${tasks}"]`,
    ].join('\n'),
  parallel: (address, tasks) =>
    [
      '#!/bin/sh',
      '# Add --sshloginfile HOSTS for other machines.',
      'set -e',
      `softpack cache codec ${quoted(address)}`,
      `seq 0 ${tasks - 1} | parallel --quote --retries 3 softpack cache run ${quoted(address)} --shard {}/${tasks} || true`,
      `softpack cache finalize ${quoted(address)}`,
    ].join('\n'),
};
