import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { openStore } from '#src/store/open-store.js';
import { temporaryDirectory } from '../temporary.js';
import { noise, WebServer } from './web-server.js';

const directory = await temporaryDirectory();
const script = fileURLToPath(new URL('read-remote.mjs', import.meta.url));
const FILE = noise(12 * 2 ** 20 + 999);
const digest = createHash('sha256').update(FILE).digest('hex');

it('gives every reader the right bytes while others are killed at any moment', async () => {
  const web = await WebServer.start();
  web.files.set('file', FILE);
  for (let round = 0; round < 12; round++) {
    const folder = directory.path(`cache-${round}`);
    const start = () => {
      const child = spawn(process.execPath, [script, web.url, 'file', folder]);
      let out = '';
      child.stdout.on('data', (piece: Buffer) => {
        out += piece;
      });
      return { child, ended: once(child, 'close').then(() => out.trim()) };
    };
    // Killed at a request for a block, each round a later one, so before, while and after it writes others.
    web.reset();
    const victim = start();
    web.misbehave = ({ index }) => {
      if (index === 1 + (round % 4)) setTimeout(() => victim.child.kill('SIGKILL'), round * 3);
      return false;
    };
    const others = [start(), start()];
    for (const { ended } of others) expect(await ended).toBe(digest);
    await victim.ended;
    web.reset();
    const cache = { folder, bytes: 2 ** 28 };
    const file = await (await openStore(web.url, { cache })).open('file');
    const into = Buffer.alloc(FILE.length);
    await file.read(0, into);
    expect(into.compare(FILE)).toBe(0);
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    expect(names.filter((name) => name.endsWith('.lock'))).toEqual([]);
    // All is kept by now: nothing but the opening asks the server.
    expect(web.asked.length).toBe(1);
  }
}, 180_000);
