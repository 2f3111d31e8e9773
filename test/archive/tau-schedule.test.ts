import { describe, expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { tauAt, tauScheduleOf } from '#src/archive/tau-schedule.js';
import { temporaryDirectory } from '../temporary.js';
import { forgeManifest, SMALL, writeSmall } from './fixture.js';

const directory = await temporaryDirectory();

const all = (choice: Parameters<typeof tauScheduleOf>[0], epochs: number, tau = 20) => {
  const runs = tauScheduleOf(choice, epochs, tau);
  return Array.from({ length: epochs }, (_, epoch) => tauAt(runs, epoch));
};

describe('tauScheduleOf', () => {
  test("lpqld is LPQLD's: 20, times 0.7 after every tenth of the epochs", () => {
    for (const epochs of [10, 40, 300]) {
      const found = all('lpqld', epochs);
      for (const [epoch, tau] of found.entries()) {
        expect(tau).toBeCloseTo(20 * 0.7 ** Math.floor(epoch / (epochs / 10)), 10);
      }
    }
    expect(tauScheduleOf('lpqld', 300, 20)).toHaveLength(10);
    expect(all('lpqld', 3, 4)).toEqual([4, 4 * 0.7, 4 * 0.7 ** 2]);
  });

  test('a list has equal shares of the epochs, whatever their numbers', () => {
    for (let epochs = 1; epochs <= 24; epochs++) {
      for (let count = 1; count <= epochs; count++) {
        const list = Array.from({ length: count }, (_, i) => count - i);
        const expected = Array.from(
          { length: epochs },
          (_, e) => list[Math.floor((e * count) / epochs)],
        );
        expect(all(list, epochs)).toEqual(expected);
      }
    }
    expect(tauScheduleOf([5, 5, 3], 6, 20)).toEqual([
      [0, 5],
      [4, 3],
    ]);
    expect(
      tauScheduleOf(
        [
          [0, 5],
          [4, 3],
        ],
        6,
        20,
      ),
    ).toEqual([
      [0, 5],
      [4, 3],
    ]);
  });

  test.each([
    [[], 4],
    [[1, 2, 3, 4, 5], 4],
    [[1, 0], 4],
    [[1, Number.NaN], 4],
    [[[1, 5]], 4],
    [
      [
        [0, 5],
        [4, 3],
      ],
      4,
    ],
    [
      [
        [0, 5],
        [0, 3],
      ],
      4,
    ],
  ])('%j is refused for %i epochs', (choice, epochs) => {
    expect(() => tauScheduleOf(choice as never, epochs, 20)).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        field: expect.stringMatching(/^tauSchedule/),
      }),
    );
  });
});

test('an archive tells the temperature of every epoch it serves, and older readers refuse it', async () => {
  const path = directory.path('scheduled');
  const tauSchedule = [
    [0, 20],
    [2, 14.5],
    [3, 1e-3],
  ] as const;
  await writeSmall(path, { ...SMALL, tauSchedule });
  await using archive = await openArchive(path);
  expect(archive.manifest.features.required).toEqual(['tau-schedule']);
  expect([0, 1, 2, 3, 4].map((epoch) => archive.temperatureOf(epoch))).toEqual([
    20, 20, 14.5, 1e-3, 1e-3,
  ]);
  for (const epoch of [-1, 5, 0.5]) {
    expect(() => archive.temperatureOf(epoch)).toThrow(expect.objectContaining({ field: 'epoch' }));
  }
  const plain = directory.path('plain');
  await writeSmall(plain);
  await using other = await openArchive(plain);
  expect(other.temperatureOf(4)).toBe(20);
  expect(other.manifest.archiveId).not.toBe(archive.manifest.archiveId);
});

let hostile = 0;

test.each([
  [[]],
  [5],
  ['lpqld'],
  [[[1, 20]]],
  [
    [
      [0, 20],
      [5, 3],
    ],
  ],
  [
    [
      [0, 20],
      [2, 3],
      [1, 3],
    ],
  ],
  [[[0, 0]]],
  [[[0, -1]]],
  [[[0, null]]],
  [[[0, 20, 3]]],
  [[[0]]],
  [[0, 20]],
  [Array.from({ length: 65_537 }, (_, i) => [i, 1])],
])('a manifest with the schedule %j is refused', async (tauSchedule) => {
  const path = directory.path(`hostile-${hostile++}`);
  await writeSmall(path, {
    ...SMALL,
    tauSchedule: [
      [0, 20],
      [1, 3],
    ],
  });
  await forgeManifest(path, { tauSchedule });
  await expect(openArchive(path)).rejects.toMatchObject({
    code: 'INVALID_FILE',
    field: expect.stringContaining('tauSchedule'),
  });
});

test('a schedule that the features do not name is refused: older readers would decode at one temperature', async () => {
  const path = directory.path('unnamed');
  await writeSmall(path);
  await forgeManifest(path, { tauSchedule: [[0, 20]] });
  const details = { code: 'INVALID_FILE', field: expect.stringContaining('features.required') };
  await expect(openArchive(path)).rejects.toMatchObject(details);
});
