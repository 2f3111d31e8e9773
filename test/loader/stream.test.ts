import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { kernelStatus } from '#src/kernels/load.js';
import { writeImage } from '../images/fixture.js';
import { temporaryDirectory } from '../temporary.js';
import { SAMPLES, trainCodec, writeArchive } from './fixture.js';

const temporary = await temporaryDirectory();
const folder = temporary.path('images');
for (let i = 0; i < SAMPLES; i++) {
  await writeImage(folder, `a/${String(i).padStart(3, '0')}.jpg`, i, [20 + (i % 3), 24]);
}
const archive = await writeArchive(temporary.path('labels'), await trainCodec());
afterAll(() => archive.close());

const script = fileURLToPath(new URL('./stream-digests.mjs', import.meta.url));

interface Line {
  readonly digest: string;
  readonly state: object;
}

/** The batches of a process of its own; killed outright once it has delivered so many. */
async function stream(
  workers: number,
  { isa = '', state, killAfter }: { isa?: string; state?: object; killAfter?: number } = {},
): Promise<Line[]> {
  const args = [script, temporary.path('labels'), folder, String(workers)];
  if (state !== undefined) args.push(JSON.stringify(state));
  const child = spawn(process.execPath, args, {
    env: { ...process.env, SOFTPACK_ISA: isa },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const closed = new Promise((resolve) => child.on('close', resolve));
  const lines: Line[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (lines.length === killAfter) break;
    lines.push(JSON.parse(line));
    if (lines.length === killAfter) child.kill('SIGKILL');
  }
  await closed;
  return lines;
}

test('a stream has the same bytes on every instruction set', async () => {
  const available = kernelStatus()[0]
    .reason.match(/available: ([^)]*)/)?.[1]
    .split(' ') ?? [''];
  const expected = await stream(0);
  expect(expected.length).toBe(15);
  for (const isa of available) {
    expect((await stream(1, { isa })).map(({ digest }) => digest)).toEqual(
      expected.map(({ digest }) => digest),
    );
  }
});

test('a process killed outright goes on from the last state that it told', async () => {
  const expected = await stream(0);
  const seen: Line[] = [];
  for (const killAfter of [4, 1, 6]) {
    const state = seen.at(-1)?.state;
    seen.push(...(await stream(2, { state, killAfter })));
  }
  seen.push(...(await stream(1, { state: seen.at(-1)?.state })));
  expect(seen).toEqual(expected);
});
