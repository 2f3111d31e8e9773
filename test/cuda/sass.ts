import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { cached, root, run } from './build.js';

/** An instruction of a GPU's machine code. */
export interface Instruction {
  /** Without modifiers: `LDS` of `LDS.U.128`. */
  readonly opcode: string;
  readonly text: string;
}

export interface Kernel {
  readonly architecture: string;
  /** Mangled. */
  readonly name: string;
  readonly instructions: readonly Instruction[];
  /** Instructions by the labels in front of them. */
  readonly labels: ReadonlyMap<string, number>;
}

/** Output of `nvdisasm -c`. */
export function kernelsOf(listing: string): Kernel[] {
  const kernels: { name: string; instructions: Instruction[]; labels: Map<string, number> }[] = [];
  const architecture = /\.target\s+(sm_\w+)/.exec(listing)?.[1] ?? '';
  for (const line of listing.split('\n')) {
    const name = /^\s*\.section\s+\.text\.([^,\s]+)/.exec(line)?.[1];
    if (name !== undefined) kernels.push({ name, instructions: [], labels: new Map() });
    const kernel = kernels.at(-1);
    if (kernel === undefined) continue;
    const label = /^(\.L\w+):/.exec(line)?.[1];
    if (label !== undefined) kernel.labels.set(label, kernel.instructions.length);
    const text = /^\s*\/\*[0-9a-f]{4,}\*\/\s+([^;]+?)\s*;/.exec(line)?.[1];
    if (text === undefined) continue;
    const opcode = /^(?:@!?U?P\w+\s+)?([A-Z]\w*)/.exec(text)?.[1] ?? '';
    kernel.instructions.push({ opcode, text });
  }
  return kernels.map((kernel) => ({ architecture, ...kernel }));
}

/** The outermost loops of a kernel: instructions that reach each other, in order. */
export function loopsOf(kernel: Kernel): Instruction[][] {
  return components(successors(kernel))
    .filter((nodes) => nodes.length > 1)
    .map((nodes) => nodes.sort((a, b) => a - b).map((i) => kernel.instructions[i] as Instruction));
}

function successors({ instructions, labels }: Kernel): number[][] {
  const targetOf = (text: string) => labels.get(/`\((\.L\w+)\)/.exec(text)?.[1] ?? '');
  const barrierOf = (text: string) => /\bB\d+/.exec(text)?.[0] ?? '';
  // Where threads meet again, by the barrier that they meet at.
  const meetings = new Map<string, number[]>();
  for (const { opcode, text } of instructions) {
    const target = opcode === 'BSSY' ? targetOf(text) : undefined;
    if (target === undefined) continue;
    meetings.set(barrierOf(text), [...(meetings.get(barrierOf(text)) ?? []), target]);
  }
  return instructions.map(({ opcode, text }, i) => {
    const following = i + 1 < instructions.length ? [i + 1] : [];
    const always = !text.startsWith('@');
    if (opcode === 'EXIT' || opcode === 'RET') return always ? [] : following;
    // To a shuffle of threads that have parted, which those of a warp have not where these kernels shuffle.
    if (text.includes('BRA.DIV')) return following;
    if (opcode === 'BRA') {
      const target = targetOf(text);
      // Behind the last instruction a kernel ends in a branch to itself.
      const taken = target === undefined || target === i ? [] : [target];
      return always && /BRA\s+`/.test(text) ? taken : [...taken, ...following];
    }
    if (opcode === 'BSYNC') {
      const targets = meetings.get(barrierOf(text)) ?? [];
      return targets.includes(i + 1) ? following : [...targets, ...following];
    }
    return following;
  });
}

/** Strongly connected components, by Tarjan's algorithm without recursion. */
function components(next: readonly (readonly number[])[]): number[][] {
  const order = new Int32Array(next.length).fill(-1);
  const low = new Int32Array(next.length);
  const open = new Uint8Array(next.length);
  const stack: number[] = [];
  const found: number[][] = [];
  let count = 0;
  for (let start = 0; start < next.length; start++) {
    if (order[start] !== -1) continue;
    const path: [node: number, edge: number][] = [[start, 0]];
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const [node, edge] = top;
      if (edge === 0 && order[node] === -1) {
        order[node] = low[node] = count++;
        stack.push(node);
        open[node] = 1;
      }
      const to = next[node]?.[edge];
      if (to !== undefined) {
        top[1] = edge + 1;
        if (order[to] === -1) path.push([to, 0]);
        else if (open[to] === 1) low[node] = Math.min(Number(low[node]), Number(order[to]));
        continue;
      }
      path.pop();
      const caller = path.at(-1)?.[0];
      if (caller !== undefined) low[caller] = Math.min(Number(low[caller]), Number(low[node]));
      if (low[node] !== order[node]) continue;
      const nodes = stack.splice(stack.lastIndexOf(node));
      for (const own of nodes) open[own] = 0;
      found.push(nodes);
    }
  }
  return found;
}

/** Machine code of a module's kernels, for every architecture, of the sources that `chosen` matches by one of their kernels. */
export function disassemble(module: string, tools: string, chosen: RegExp): Kernel[] {
  const folder = mkdtempSync(path.join(tmpdir(), 'softpack-sass-'));
  try {
    const tool = (name: string, ...args: string[]) => {
      const env = { ...process.env, PATH: `${tools}${path.delimiter}${process.env.PATH}` };
      const { stdout, stderr, status, error } = spawnSync(path.join(tools, name), args, {
        ...{ cwd: folder, encoding: 'utf8', maxBuffer: 2 ** 29, env },
      });
      if (status !== 0) throw new Error(`${name} failed: ${error?.message ?? stderr}`);
      return stdout;
    };
    tool('cuobjdump', '-xelf', 'all', module);
    return readdirSync(folder).flatMap((file) => {
      // Names of kernels stand in the file as they are.
      if (!chosen.test(readFileSync(path.join(folder, file), 'latin1'))) return [];
      return kernelsOf(tool('nvdisasm', '-c', file));
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The PTX of a module. */
export function ptxOf(module: string, tools: string): string {
  return run(path.join(tools, 'cuobjdump'), ['-ptx', module]);
}

/** The folder of cuobjdump and nvdisasm: on PATH, or from PyPI, once. Undefined if they cannot be had. */
export function inspector(): string | undefined {
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  const here = folders.find((folder) =>
    ['cuobjdump', 'nvdisasm'].every((tool) => existsSync(path.join(folder, tool))),
  );
  if (here !== undefined) return here;
  const requirements = 'test/cuda/inspector.txt';
  try {
    const out = cached('inspector', [requirements], (folder) => {
      const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'];
      const exact = ['--no-deps', '--only-binary=:all:', '--require-hashes', '--target', folder];
      const args = [...pip, ...exact, '-r', path.join(root, requirements)];
      const { status, stderr, error } = spawnSync('python3', args, { encoding: 'utf8' });
      if (status !== 0) throw new Error(error?.message ?? stderr);
    });
    return path.join(out, 'nvidia/cu13/bin');
  } catch (error) {
    console.log(`no cuobjdump from PyPI: ${error}`);
    return undefined;
  }
}
