import { expect } from 'vitest';
import { softpack } from '../cli/softpack.js';
import { type FaultWorkplace, type Outcome, treeOf, type Writer } from './writers.js';

/** A kill before one operation, or (`cut`) after half of its bytes were written. */
interface Kill {
  readonly fault: 'kill' | 'cut';
  readonly at: number;
  readonly operation: string;
}

/**
 * `kill` sends the signal. `freeze` leaves the same files behind, and its process to the next kill: every change of a file
 * fails from that operation on.
 */
export type Way = 'kill' | 'freeze';

/**
 * Kills the writer at the operations that `choose` leaves, runs it again, and returns what differs from a run that nobody
 * disturbed: the archive's bytes, files left behind, or the second run's failure.
 */
export async function findLosses(
  place: FaultWorkplace,
  writer: Writer,
  choose: (kills: readonly Kill[]) => readonly Kill[],
  way: Way,
): Promise<{ readonly tried: number; readonly losses: readonly string[] }> {
  const undisturbed = place.freshOut();
  const { code, err, operations } = await place.run(writer, undisturbed, { ops: 'change' });
  expect([code, err]).toEqual([0, expect.any(String)]);
  expect(operations.length).toBeGreaterThan(5);
  const wanted = treeOf(undisturbed);
  const losses: string[] = [];
  const kills = choose(killsOf(operations));
  const left: Left[] = [];
  for (const { fault, at, operation } of kills) {
    const out = place.freshOut();
    const named = `${fault} at ${at}, ${operation.replace(place.path(''), '')}`;
    const frozen = fault === 'kill' ? 'freeze' : 'freeze-cut';
    const killed = await place.run(writer, out, {
      ...{ ops: 'change', fault: way === 'kill' ? fault : frozen, at },
    });
    if (!wasHit(killed, way, at)) losses.push(`${named}: not killed (${killed.err})`);
    left.push({ named, out });
  }
  losses.push(...(await lossesOfResumed(place, writer, left, wanted)));
  place.discard(undisturbed);
  return { tried: kills.length, losses };
}

/** What a writer left that did not end well. */
export interface Left {
  /** How it was disturbed. */
  readonly named: string;
  readonly out: string;
}

/** Runs a writer again on what it left. Where it left the same files twice, once: the second would be the same run. */
export async function lossesOfResumed(
  place: FaultWorkplace,
  writer: Writer,
  left: readonly Left[],
  wanted: ReadonlyMap<string, string>,
): Promise<readonly string[]> {
  // One that is alive holds the locks that it has not unlinked.
  await place.end();
  const losses: string[] = [];
  for (const { named, out } of place.distinct(left)) {
    const again = await softpack([...writer.args, '--out', out]);
    if (again.code !== 0) losses.push(`${named}: exit ${again.code}, ${again.err}`);
    else losses.push(...differences(treeOf(out), wanted).map((found) => `${named}: ${found}`));
    place.discard(out);
  }
  return losses;
}

/** Whether a writer came to its end at operation `at`. */
export function wasHit({ signal, firstFault }: Outcome, way: Way, at: number): boolean {
  return firstFault === at && (way === 'freeze' || signal === 'SIGKILL');
}

function killsOf(operations: readonly string[]): Kill[] {
  return operations.flatMap((operation, i) => {
    const before = { fault: 'kill', at: i + 1, operation } as const;
    return operation.startsWith('write ') ? [before, { ...before, fault: 'cut' }] : [before];
  });
}

export function differences(
  found: ReadonlyMap<string, string>,
  wanted: ReadonlyMap<string, string>,
): string[] {
  const names = new Set([...found.keys(), ...wanted.keys()]);
  return [...names].flatMap((name) => {
    if (!found.has(name)) return [`${name} is missing`];
    if (!wanted.has(name)) return [`${name} is left behind`];
    return found.get(name) === wanted.get(name) ? [] : [`${name} differs`];
  });
}
