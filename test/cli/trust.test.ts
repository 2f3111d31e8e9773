import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { writeSmall } from '../archive/fixture.js';
import { temporaryDirectory } from '../temporary.js';
import { softpack } from './softpack.js';

const temporary = await temporaryDirectory();
const sound = temporary.path('sound');
const damaged = temporary.path('damaged');

beforeAll(async () => {
  await writeSmall(sound);
  await cp(sound, damaged, { recursive: true });
  await rm(join(damaged, 'codes-00001.safetensors'));
});

test('verify: exit code 0 without damage, 1 with, and the labels it hits', async () => {
  const good = await softpack(['verify', sound]);
  expect(good).toMatchObject({ code: 0, out: expect.stringContaining('no damage') });
  const bad = await softpack(['verify', damaged]);
  expect(bad.code).toBe(1);
  expect(bad.out).toContain('codes-00001.safetensors: no such file');
  expect(bad.out).toContain('hits epochs 2 to 3, samples 0 to 10\n');
  expect(bad.out).toContain('hits epochs 2 to 3, samples 0 to 10 of weight');
  expect(bad.err).toContain('CORRUPT_DATA');
  const json = await softpack(['verify', damaged, '--json']);
  expect(JSON.parse(json.out)).toMatchObject({ damage: [{ kind: 'missing' }] });
  expect(json.code).toBe(1);
});
