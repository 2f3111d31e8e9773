import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { expect, it } from 'vitest';
import { whileLocked } from './file-lock.js';
import { temporaryDirectory } from './temporary.js';

const temporary = await temporaryDirectory();
const target = temporary.path('built');

it('names its holder, takes over the lock of a process that is gone, and leaves none behind', () => {
  let held = '';
  whileLocked(target, () => {
    held = readFileSync(`${target}.lock`, 'utf8');
  });
  expect(held).toMatch(new RegExp(`^${hostname()} ${process.pid} `));
  // The same process id, used by an earlier process.
  const earlier = held.replace(/\d+$/, '1');
  for (const stale of [`${hostname()} 4194305  `, earlier]) {
    writeFileSync(`${target}.lock`, stale);
    whileLocked(target, () => {});
  }
  expect(readdirSync(dirname(target))).toEqual([]);
});
