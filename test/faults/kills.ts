import { expect } from 'vitest';
import { softpack } from '../cli/softpack.js';
import { type FaultWorkplace, treeOf, type Writer } from './writers.js';

/** A kill before one operation, or (`cut`) after half of its bytes were written. */
interface Kill {
  readonly fault: 'kill' | 'cut';
  readonly at: number;
  readonly operation: string;
}

/**
 * Kills the writer at the operations that `choose` leaves, runs it again, and returns what differs from a run that nobody
 * disturbed: the archive's bytes, files left behind, or the second run's failure.
 */
export async function findLosses(
  place: FaultWorkplace,
  writer: Writer,
  choose: (kills: readonly Kill[]) => readonly Kill[],
): Promise<{ readonly tried: number; readonly losses: readonly string[] }> {
  const undisturbed = place.freshOut();
  const { code, err, operations } = await place.run(writer, undisturbed, { ops: 'change' });
  expect([code, err]).toEqual([0, expect.any(String)]);
  expect(operations.length).toBeGreaterThan(5);
  const wanted = treeOf(undisturbed);
  const losses: string[] = [];
  const kills = choose(killsOf(operations));
  for (const { fault, at, operation } of kills) {
    const out = place.freshOut();
    const killed = await place.run(writer, out, { ops: 'change', fault, at });
    const named = `${fault} at ${at}, ${operation.replace(place.path(''), '')}`;
    if (killed.signal !== 'SIGKILL') losses.push(`${named}: not killed (${killed.err})`);
    const again = await softpack([...writer.args, '--out', out]);
    if (again.code !== 0) losses.push(`${named}: exit ${again.code}, ${again.err}`);
    else losses.push(...differences(treeOf(out), wanted).map((found) => `${named}: ${found}`));
    place.discard(out);
  }
  place.discard(undisturbed);
  return { tried: kills.length, losses };
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
