import { cpSync } from 'node:fs';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { verifyArchive } from '#src/pipeline/verify.js';
import { softpack } from '../cli/softpack.js';
import { differences, type Left, type Way, wasHit } from './kills.js';
import { type FaultWorkplace, OUT, treeOf, type Writer } from './writers.js';

/** Appends of epochs and of samples, of an archive and of a file of logits, which must leave the old archive or the new one. */
export async function appendWriters(place: FaultWorkplace): Promise<readonly Writer[]> {
  const logits = place.path('in/logits.npy');
  const [base, more] = [place.path('in/base'), place.path('in/more')];
  await packLogits({ source: logits, out: base, codec: { name: 'topk', k: 2 } });
  await packLogits({ source: logits, out: more, codec: { name: 'scalar', levels: 4 }, tau: 5 });
  const samples = place.path('in/samples');
  await packLogits({ source: logits, out: samples, codec: { name: 'scalar', levels: 4 } });
  return [
    { name: 'append an archive', args: ['append', OUT, more] },
    { name: 'append logits', args: ['append', OUT, logits, '--codec', 'topk', '--k', '3'] },
    { name: 'append samples', args: ['append', OUT, samples, '--samples'] },
    { name: 'append logits of samples', args: ['append', OUT, logits, '--samples'] },
  ];
}

/**
 * Kills an append at the operations that `choose` leaves. After each the archive must be whole, with its old labels or
 * with all; a second run must end as if the first had not been.
 */
export async function findAppendLosses(
  place: FaultWorkplace,
  writer: Writer,
  choose: (operations: readonly number[]) => readonly number[],
  way: Way,
): Promise<{ readonly tried: number; readonly losses: readonly string[] }> {
  const fresh = () => {
    const out = place.freshOut();
    cpSync(place.path('in/base'), out, { recursive: true });
    return out;
  };
  const undisturbed = fresh();
  const { code, err, operations } = await place.run(writer, undisturbed, { ops: 'change' });
  if (code !== 0) throw new Error(err);
  const wanted = treeOf(undisturbed);
  const losses: string[] = [];
  const old = await labelsIn(place.path('in/base'));
  const chosen = choose(operations.map((_, i) => i + 1));
  const left: Left[] = [];
  for (const at of chosen) {
    const out = fresh();
    const killed = await place.run(writer, out, { ops: 'change', fault: way, at });
    const named = `kill at ${at}, ${operations[at - 1]}`;
    if (!wasHit(killed, way, at)) losses.push(`${named}: not killed (${killed.err})`);
    left.push({ named, out });
  }
  await place.end();
  for (const { named, out } of place.distinct(left)) {
    const { damage } = await verifyArchive(out);
    losses.push(...damage.map(({ file, problem }) => `${named}: ${file}: ${problem}`));
    const labels = await labelsIn(out);
    if (labels !== old && labels !== 2 * old) losses.push(`${named}: ${labels} labels`);
    if (labels === old) {
      const again = await softpack(writer.args.map((arg) => (arg === OUT ? out : arg)));
      if (again.code !== 0) losses.push(`${named}: exit ${again.code}, ${again.err}`);
      else losses.push(...differences(treeOf(out), wanted).map((found) => `${named}: ${found}`));
    }
    place.discard(out);
  }
  place.discard(undisturbed);
  return { tried: chosen.length, losses };
}

/** All labels are read. */
async function labelsIn(out: string): Promise<number> {
  await using archive = await openArchive(out);
  for (let epoch = 0; epoch < archive.epochs; epoch++) {
    await archive.labels(epoch, { start: 0, count: archive.samples });
  }
  return archive.epochs * archive.samples;
}
