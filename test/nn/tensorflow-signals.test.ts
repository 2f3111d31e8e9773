import { spawn } from 'node:child_process';
import { readFileSync, statfsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { installTensorflow, uninstallTensorflow } from '#src/nn/tensorflow-install/install.js';
import { currentPlatform, tensorflowPlan } from '#src/nn/tensorflow-install/plan.js';
import { temporaryDirectory } from '../temporary.js';
import { FakeTools } from './fake-tools.js';

/** Why no installation can begin here; undefined if it can. */
const lacking = (() => {
  try {
    const { spaceBytes } = tensorflowPlan('cpu', currentPlatform());
    const { bavail, bsize } = statfsSync(tmpdir());
    return bavail * bsize < spaceBytes ? 'too little free disk space' : undefined;
  } catch (error) {
    return (error as Error).message;
  }
})();
const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const temporary = await temporaryDirectory();

describe.concurrent('tensorflow install, stopped', () => {
  test.for([
    ['SIGTERM', 143, 'wait'],
    ['SIGHUP', 129, 'wait'],
    ['SIGTERM', 143, 'insist'],
  ] as const)(
    'by %s exits with %i and ends its tools: %s',
    async ([signal, code, how], { skip }) => {
      if (lacking !== undefined) skip(lacking);
      const root = temporary.path(`${signal} ${how}`);
      const tools = await FakeTools.create(join(root, 'tools'));
      await tools.set({ NPM: how });
      const dir = join(root, 'place/tensorflow');
      const args = [main, 'tensorflow', 'install', '--dir', dir];
      const child = spawn(process.execPath, args, { env: { ...process.env, ...tools.env } });
      const ended = new Promise((done) => child.once('close', done));
      const atWork = async () => (await tools.processes()).length > 0;
      await vi.waitUntil(atWork, { timeout: 20_000, interval: 20 });
      const started = await tools.processes();
      child.kill(signal);
      expect(await ended).toBe(code);
      expect(started.length).toBe(how === 'wait' ? 1 : 2);
      // Killed processes that nobody has waited for yet are of no concern.
      await vi.waitUntil(() => started.every((pid) => !isRunning(pid)), { timeout: 5000 });
      expect(await readdir(dirname(dir))).toEqual([]);
    },
  );
});

function isRunning(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].startsWith('Z');
  } catch {
    return false;
  }
}

describe('what killed installations left', () => {
  const MARK = 'softpack-tensorflow-install';
  const dead = `${MARK} 4194311 1`;
  const uuid = '01234567-89ab-cdef-0123-456789abcdef';
  afterEach(() => vi.unstubAllEnvs());

  async function leftovers(name: string): Promise<{ dir: string; kept: readonly string[] }> {
    const dir = temporary.path(`${name}/tensorflow`);
    const add = async (path: string, text: string) => {
      await mkdir(dirname(`${dir}${path}`), { recursive: true });
      await writeFile(`${dir}${path}`, text);
    };
    const [, start] = (await readFile('/proc/self/stat', 'utf8')).split(') ');
    const alive = `${MARK} ${process.pid} ${start.split(' ')[19]}`;
    await add(`.partial.${uuid}.dead/owner`, dead);
    await add(`.partial.${uuid}.dead/tensorflow/lib.so`, 'half');
    await add(`.partial.${uuid.replace('0', '1')}/owner`, dead);
    await mkdir(`${dir}.partial.${uuid.replace('0', '2')}`);
    // Folders of a running installation, of somebody else, and with other names.
    await add(`.partial.${uuid.replace('0', '3')}/owner`, alive);
    await add(`.partial.${uuid.replace('0', '4')}/thesis.txt`, 'years of work');
    await add(`.partial.${uuid.replace('0', '5')}.dead/thesis.txt`, 'years of work');
    await add('.partial.old/owner', dead);
    await add('.partial.mine/owner', dead);
    const kept = ['3', '4'].map((digit) => `tensorflow.partial.${uuid.replace('0', digit)}`);
    const others = [`tensorflow.partial.${uuid.replace('0', '5')}.dead`, 'tensorflow.partial.mine'];
    return { dir, kept: [...kept, ...others, 'tensorflow.partial.old'].sort() };
  }

  test('is removed by the next installation, also if that fails', async ({ skip }) => {
    if (lacking !== undefined) skip(lacking);
    const tools = await FakeTools.create(temporary.path('failing tools'));
    for (const [name, value] of Object.entries(tools.env)) vi.stubEnv(name, value);
    await tools.set({ NPM: 'no network' });
    const { dir, kept } = await leftovers('installed');
    await expect(installTensorflow({ dir })).rejects.toMatchObject({ code: 'DOWNLOAD_FAILED' });
    expect((await readdir(dirname(dir))).sort()).toEqual(kept);
  });

  test('is removed by uninstalling', async ({ skip }) => {
    if (process.platform !== 'linux') skip('owners are told by /proc');
    const { dir, kept } = await leftovers('uninstalled');
    await rm(`${dir}.partial.old`, { recursive: true });
    // A removal that was cut off before the mark, and one after it.
    await mkdir(`${dir}.partial`);
    await writeFile(`${dir}.partial/owner`, dead);
    expect(await uninstallTensorflow(dir)).toBe(true);
    await mkdir(`${dir}.partial`);
    expect(await uninstallTensorflow(dir)).toBe(true);
    expect(await uninstallTensorflow(dir)).toBe(false);
    expect((await readdir(dirname(dir))).sort()).toEqual(
      kept.filter((name) => !name.endsWith('.old')),
    );
  });
});
