import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { cached, freePort } from '../store/servers.js';

/** Servers of queues, and the package that speaks to them. */

/** Folder with bullmq and its drivers, kept in the user's cache folder: no part of softpack depends on them. */
export function installBull(): string {
  const folder = cached('bullmq-6.7.0');
  if (existsSync(join(folder, 'node_modules/bullmq/package.json'))) return folder;
  mkdirSync(folder, { recursive: true });
  const packages = ['bullmq@6.7.0', 'ioredis@6.0.0', 'pg@8'];
  const args = ['install', '--prefix', folder, '--no-save', '--ignore-scripts', ...packages];
  execFileSync('npm', args, { stdio: 'pipe' });
  return folder;
}

export interface QueueTestServer {
  readonly address: string;
  /** Kills the server and starts it again, without what it knew. */
  restart?(): Promise<void>;
  stop(): Promise<void>;
}

async function killed(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

async function until(what: string, isUp: () => boolean): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (isUp()) return;
    await setTimeout(50);
  }
  throw new Error(`${what} did not start within 10 seconds`);
}

function succeeds(program: string, args: readonly string[]): boolean {
  try {
    execFileSync(program, args, { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
}

/** Redis or Valkey, which keeps nothing on disk. */
export async function startRedis(): Promise<QueueTestServer> {
  const program = ['redis-server', 'valkey-server'].find((one) => succeeds(one, ['--version']));
  if (program === undefined) throw new Error('no redis-server: apt install redis-server');
  const port = await freePort();
  const client = program.replace('server', 'cli');
  let child: ChildProcess | undefined;
  const start = async () => {
    const kept = ['--save', '', '--appendonly', 'no', '--maxmemory-policy', 'noeviction'];
    const args = ['--bind', '127.0.0.1', '--port', String(port), ...kept];
    child = spawn(program, args, { stdio: 'ignore' });
    await until(program, () => succeeds(client, ['-p', String(port), 'ping']));
  };
  await start();
  const restart = async () => {
    await killed(child);
    await start();
  };
  return { address: `redis://127.0.0.1:${port}`, restart, stop: () => killed(child) };
}

const POSTGRES = '/usr/lib/postgresql';

export async function startPostgres(): Promise<QueueTestServer> {
  const versions = existsSync(POSTGRES) ? readdirSync(POSTGRES).sort() : [];
  const bin = join(POSTGRES, versions.at(-1) ?? 'none', 'bin');
  if (!existsSync(join(bin, 'initdb'))) throw new Error('no PostgreSQL: apt install postgresql');
  const data = mkdtempSync(join(tmpdir(), 'softpack-postgres-'));
  // It does not run as root.
  const owner = process.getuid?.() === 0 ? userOf('postgres') : undefined;
  if (owner !== undefined) chownSync(data, owner.uid, owner.gid);
  const options = { ...owner, stdio: 'pipe' } as const;
  execFileSync(join(bin, 'initdb'), ['-D', data, '-A', 'trust', '-U', 'softpack', '-N'], options);
  const port = await freePort();
  const bound = ['-h', '127.0.0.1', '-p', String(port), '-k', '', '-F'];
  const child = spawn(join(bin, 'postgres'), ['-D', data, ...bound], { ...owner, stdio: 'ignore' });
  const at = ['-h', '127.0.0.1', '-p', String(port)];
  await until('PostgreSQL', () => succeeds(join(bin, 'pg_isready'), at));
  const address = `postgres://softpack@127.0.0.1:${port}/postgres`;
  const stop = async () => {
    await killed(child);
    rmSync(data, { recursive: true, force: true });
  };
  return { address, stop };
}

function userOf(name: string): { readonly uid: number; readonly gid: number } {
  const id = (flag: string) => Number(execFileSync('id', [flag, name], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}
