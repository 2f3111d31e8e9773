import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../temporary.js';
import { KILLED_JOBS, type KilledKind, makeDespiteKills, requireWhole } from './killed-jobs.js';

const temporary = await temporaryDirectory();
const KINDS = { labels: [1, 2, 7], synthesis: [1, 2, 7], tokens: [2] } as const;

describe.each(Object.keys(KINDS) as KilledKind[])('%s', async (kind) => {
  const job = await KILLED_JOBS[kind]();

  test.each(KINDS[kind])(
    'made by %i processes, killed -9 at each moment, have the bytes of one machine',
    async (of) => {
      const folder = temporary.path(`${kind} ${of}`);
      const place = { address: folder };
      // Nothing is planned yet, and no process has begun.
      expect(existsSync(folder)).toBe(false);
      await makeDespiteKills(kind, job, place, of);
      // As those leave who are killed within a call.
      const torn = '.tmp-0123456789abcdef';
      const [receipt] = readdirSync(`${folder}/job/receipts`);
      const left = [`job/receipts/${receipt}${torn}`, `job/${receipt}${torn}`, 'job/probe-ab'];
      for (const name of left) writeFileSync(`${folder}/${name}`, '');
      await requireWhole(kind, job, place);
      // Nothing is left but the job, its codec and what was measured.
      const names = [folder, `${folder}/job`, `${folder}/job/receipts`].flatMap((at) =>
        readdirSync(at),
      );
      expect(names.filter((name) => name.includes('.tmp-') || name.startsWith('probe-'))).toEqual(
        [],
      );
    },
    300_000,
  );
});
