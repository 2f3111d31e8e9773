// Ceilings of this machine, measured in the same run, and the one that limits an operation.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CLASSES } from './settings.mjs';

const SOURCE = fileURLToPath(new URL('./ceilings.cc', import.meta.url));
/** Default if sysfs has no value. */
const CACHE_BYTES = [32, 1024, 16384].map((kibibytes) => kibibytes * 1024);

/** { ceilings: { float32, bfloat16?, amx?, L1, L2, L3, memory, stores } } per thread, or { reason }. */
export function measureCeilings(threads) {
  const folder = mkdtempSync(join(tmpdir(), 'softpack-ceilings-'));
  const program = join(folder, 'ceilings');
  const compiler = process.env.CXX ?? 'c++';
  try {
    const flags = ['-O3', '-march=native', '-std=c++17', '-pthread', '-o', program, SOURCE];
    execFileSync(compiler, flags, { stdio: ['ignore', 'ignore', 'pipe'] });
    const sizes = [0, 2, 3].map(cacheBytes);
    const printed = execFileSync(program, [threads, ...sizes].map(String), { encoding: 'utf8' });
    const pairs = printed
      .trim()
      .split('\n')
      .map((line) => line.split(' '));
    const ceilings = Object.fromEntries(pairs.map(([name, value]) => [name, Number(value)]));
    return { ceilings };
  } catch (error) {
    const why = String(error.stderr ?? error.message)
      .trim()
      .split('\n')[0];
    return { reason: `ceilings: ${compiler} ${why}` };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * The most labels/s that a thread can reach, and the limiting unit. `work`: a decoder's method, or 'float32' for products
 * of float32.
 */
export function ceilingOf(op, setting, work, ceilings, out = 'float32') {
  if (ceilings === undefined) return undefined;
  const limits = Object.entries(timesOf(op, setting, work, ceilings, out));
  const [name, seconds] = limits.reduce((a, b) => (b[1] > a[1] ? b : a));
  return { name, labelsPerSecond: 1 / seconds };
}

/** Fewest seconds per label that each unit needs, by the unit's name. */
function timesOf(op, { dh, segments }, work, ceilings, out) {
  const giga = 1e9;
  const product = (inner, columns) => (2 * inner * columns) / (ceilings.float32 * giga);
  const store = (bytes) => bytes / (ceilings.stores * giga);
  const read = (bytes) => bytes / (ceilings.memory * giga);
  if (op === 'project') return { float32: product(CLASSES, dh), stores: store(4 * dh) };
  // How many codewords a search looks at, and how much of a projection labels of a low temperature take, is theirs.
  if (op === 'nearest') return { memory: read(4 * dh) };
  if (op === 'encode-low-entropy') return { memory: read(4 * CLASSES) };
  if (op === 'encode') return { float32: product(dh, CLASSES) };
  const bytes = (out === 'float32' ? 4 : 2) * CLASSES;
  const stores = store(bytes) + (op === 'decode_kl' ? read(bytes) : 0);
  return { ...decodeTimes(dh, segments, work, ceilings), ...(op !== 'decode-one' && { stores }) };
}

function decodeTimes(dh, segments, work, ceilings) {
  const giga = 1e9;
  const flops = 2 * dh * CLASSES;
  const narrow = ceilings.amx ?? ceilings.bfloat16 ?? ceilings.float32;
  const narrowName = ['amx', 'bfloat16', 'float32'].find((name) => name in ceilings);
  switch (work) {
    case 'table':
      return { L2: (segments * 4 * CLASSES) / (ceilings.L2 * giga) };
    case 'fixed':
      return { L2: (segments * 2 * CLASSES) / (ceilings.L2 * giga) };
    case 'bfloat':
      return { [narrowName]: flops / (narrow * giga) };
    case 'split':
      return { [narrowName]: (3 * flops) / (narrow * giga) };
    default:
      return { float32: flops / (ceilings.float32 * giga) };
  }
}

function cacheBytes(index, at) {
  try {
    const path = `/sys/devices/system/cpu/cpu0/cache/index${index}/size`;
    const [, number, unit] = readFileSync(path, 'utf8').match(/^(\d+)([KM])/);
    return Number(number) * (unit === 'K' ? 1024 : 1024 ** 2);
  } catch {
    return CACHE_BYTES[at];
  }
}
