import { openArchive } from '#src/archive/archive.js';
import { errorToData } from '#src/errors.js';
import { createLoader } from '#src/loader/loader.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { ConvNet } from '#src/nn/convnet.js';
import { trainStudent } from '#src/training/distill.js';
import { evaluateTop1 } from '#src/training/evaluate.js';
import { distilledPixels } from './distilled.js';
import { loadEmoji } from './emoji.js';
import { DISTILLED_IPC, NORMALISATION, STUDENT, studentConfig } from './recipe.js';
import type { StudentJob, StudentMessage } from './students.js';
import { heldOutImages, trainingSamples } from './teacher.js';

/**
 * A student in its own process: two of them use two cores, each with its own TensorFlow.js engine.
 * Takes one `StudentJob`, answers with progress and then with its result or the error.
 */
process.once('message', async (job: StudentJob) => {
  const stop = new AbortController();
  process.once('disconnect', () => stop.abort());
  try {
    const result = await runStudent(job, stop.signal);
    send({ kind: 'result', ...result });
  } catch (error) {
    const { message, stack = message, code } = errorToData(error);
    send({ kind: 'failed', message: stack, code });
  }
  process.disconnect?.();
});

async function runStudent(job: StudentJob, signal: AbortSignal) {
  const { name: backend } = await selectBackend({ backend: job.backend });
  const emoji = await loadEmoji({ dir: job.dir, size: job.size, signal });
  await using archive = await openArchive(job.archive);
  await using loader = createLoader({
    archive,
    images:
      job.distilled === undefined
        ? trainingSamples(emoji)
        : await distilledPixels(job.distilled, emoji.classes.length, DISTILLED_IPC),
    normalisation: NORMALISATION,
    batchSize: STUDENT.batch,
    dropLast: true,
    seed: job.seed,
    signal,
  });
  const steps = archive.epochs * loader.batchesPerEpoch;
  using network = ConvNet.create(studentConfig(emoji.classes.length), job.seed);
  const losses = await trainStudent({
    network,
    batches: loader,
    steps,
    lr: STUDENT.lr,
    warmup: STUDENT.warmup,
    weightDecay: STUDENT.weightDecay,
    tau: archive.manifest.tau,
    onProgress: ({ step, loss }) => {
      if (step % 10 === 0 || step === steps) send({ kind: 'progress', step, steps, loss });
    },
    signal,
  });
  const top1 = await evaluateTop1(network, heldOutImages(emoji));
  return { top1, losses: [...losses], backend, metrics: loader.metrics() };
}

function send(message: StudentMessage): void {
  // A parent that has stopped listening wants no more.
  if (process.connected) process.send?.(message);
}
