import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { BUILD_TIMEOUT, missingTools } from './build.js';
import { ARCHITECTURES, cudaModule, NoToolkit, shortName } from './module.js';
import { disassemble, type Instruction, inspector, type Kernel, loopsOf, ptxOf } from './sass.js';

const FIRST_TENSOR_CORES = 80;
const FIRST_CLUSTERS = 90;

/** Kernels that decode and encode, by file. */
const HOT =
  /BfloatLabelsKernel|BfloatProductKernel|Hopper\w+Kernel|SplitProductKernel|TensorNearestKernel|SliceKernel|TableKernel/;

/**
 * Around each of four products of a warpgroup: 17 instructions that read a lane's four words of whole codewords, 27 more
 * for words of two codewords, behind a branch, and the arithmetic of barriers and descriptors.
 */
const MOST_AROUND_HGMMA = 110;

/**
 * The most instructions of the loop around so many products on tensor cores. A tile of bfloat_tile.h reads the operands of
 * 32 by 12 LDSM; the search of nearest_tensor.cu keeps, besides its products, what does not grow with codewords; split_project.cu adds each
 * sum of six products to two others, in 292 instructions for 96, for 12.0 in 359.
 */
const MOST_INSTRUCTIONS = {
  Bfloat: (products: number) => 4.5 * products,
  TensorNearest: (products: number) => 3.5 * products + 140,
  SplitProduct: (products: number) => 3.8 * products,
};

/** For 16 bytes of a row: their load, 2 to 4 additions, an address and a share of an index. */
const MOST_PER_ROW_LOAD = 8;

const capability = (kernel: Kernel) => Number(/\d+/.exec(kernel.architecture)?.[0]);
const count = (instructions: readonly Instruction[], opcode: string) =>
  instructions.filter((own) => own.opcode === opcode).length;
const label = (kernel: Kernel) => `${kernel.architecture} ${shortName(kernel.name)}`;

describe('the machine code of the CUDA module', () => {
  let lacking = missingTools();
  let kernels: readonly Kernel[] = [];
  let ptx = '';

  beforeAll(() => {
    const tools = lacking === undefined ? inspector() : undefined;
    if (tools === undefined) lacking ??= 'no cuobjdump and nvdisasm';
    try {
      if (tools !== undefined) {
        const module = path.join(cudaModule(), 'softpack_cuda.so');
        kernels = disassemble(module, tools, HOT);
        ptx = ptxOf(module, tools);
      }
    } catch (error) {
      if (!(error instanceof NoToolkit)) throw error;
      lacking = error.message;
    }
    if (lacking !== undefined) console.log(`skipped: machine code of the CUDA module (${lacking})`);
  }, BUILD_TIMEOUT);

  const of = (name: RegExp) => {
    const found = kernels.filter((kernel) => name.test(kernel.name));
    expect(new Set(found.map(({ architecture }) => architecture))).toEqual(new Set(ARCHITECTURES));
    return found;
  };
  const productLoop = (kernel: Kernel) =>
    loopsOf(kernel).filter((loop) => count(loop, 'HMMA') + count(loop, 'HGMMA') > 0);

  it('keeps nothing in local memory', ({ skip }) => {
    if (lacking !== undefined) skip(lacking);
    expect(kernels.length).toBeGreaterThan(100);
    for (const kernel of kernels) {
      const local = count(kernel.instructions, 'LDL') + count(kernel.instructions, 'STL');
      expect(local, label(kernel)).toBe(0);
    }
  });

  it('calls nothing in the loops that products and rows are added up in', ({ skip }) => {
    if (lacking !== undefined) skip(lacking);
    for (const kernel of of(HOT)) {
      // Their one loop also divides, once or twice a row; tests below look at what is inside.
      if (/Hopper\w+Kernel|ClusterTableKernel/.test(kernel.name)) continue;
      // For 8.x the assembler also jumps to labels of the kernel by CALL.
      const calls = loopsOf(kernel).flatMap((loop) =>
        loop.filter(({ opcode, text }) => opcode === 'CALL' && !text.includes('`(.L_')),
      );
      expect(calls, label(kernel)).toEqual([]);
    }
  });

  it.for(Object.entries(MOST_INSTRUCTIONS))(
    'multiplies on tensor cores: %s',
    ([name, most], { skip }) => {
      if (lacking !== undefined) skip(lacking);
      const lines: string[] = [];
      for (const kernel of of(new RegExp(`${name}\\w*Kernel`))) {
        const loops = productLoop(kernel);
        if (capability(kernel) < FIRST_TENSOR_CORES) {
          expect(loops, label(kernel)).toEqual([]);
          continue;
        }
        expect(loops, label(kernel)).toHaveLength(1);
        const [loop = []] = loops;
        const products = count(loop, 'HMMA') + count(loop, 'HGMMA');
        lines.push(`${label(kernel)}: ${loop.length} instructions, ${products} products`);
        expect(loop.length, label(kernel)).toBeLessThanOrEqual(most(products));
        if (name === 'Bfloat') {
          const loads = loop.filter(
            ({ opcode, text }) => opcode === 'LDS' && !text.startsWith('@!PT'),
          );
          expect([count(loop, 'LDSM'), loads.length], label(kernel)).toEqual([
            (12 * products) / 32,
            0,
          ]);
        }
      }
      console.log(lines.join('\n'));
    },
  );

  it('has cluster barriers in every image that is asked for them', ({ skip }) => {
    if (lacking !== undefined) skip(lacking);
    for (const kernel of of(/BfloatLabelsKernel/)) {
      const clusters = capability(kernel) >= FIRST_CLUSTERS;
      for (const half of ['UCGABAR_ARV', 'UCGABAR_WAIT']) {
        expect(count(kernel.instructions, half) > 0, label(kernel)).toBe(clusters);
      }
    }
    const entries = ptx.split('.entry ').filter((entry) => /^\w*BfloatLabelsKernel/.test(entry));
    expect(entries.length).toBeGreaterThanOrEqual(2);
    for (const entry of entries) expect(entry).toContain('barrier.cluster.arrive.release');
  });

  it('multiplies by warpgroups, from bulk copies for a cluster, for 9.0a alone', ({ skip }) => {
    if (lacking !== undefined) skip(lacking);
    const hopper = of(/Hopper(Labels|Loss)Kernel/);
    expect(hopper).toHaveLength(4 * ARCHITECTURES.length);
    for (const kernel of hopper) {
      if (kernel.architecture !== 'sm_90a') {
        expect(kernel.instructions.length, label(kernel)).toBeLessThan(32);
        continue;
      }
      const texts = kernel.instructions.map(({ text }) => text);
      const having = (part: RegExp) => texts.filter((text) => part.test(text)).length;
      // One loop over tiles of labels has the loop over latent elements: four products, each waited for by count.
      const loops = productLoop(kernel);
      expect(loops, label(kernel)).toHaveLength(1);
      expect(having(/HGMMA\.64x256x16\.F32\.BF16/)).toBe(4);
      const first = texts.findIndex((text) => text.includes('HGMMA'));
      const last = texts.findLastIndex((text) => text.includes('HGMMA'));
      expect((last - first) / 3, label(kernel)).toBeLessThan(MOST_AROUND_HGMMA);
      console.log(`${label(kernel)}: ${Math.round((last - first) / 3)} instructions a product`);
      expect(having(/WARPGROUP\.DEPBAR\.LE gsb0, 0x2/)).toBe(4);
      // No barrier of all memory between products.
      const inner = texts.slice(first, last);
      expect(inner.filter((text) => /MEMBAR|CCTL|CALL|\bSTL|\bLDL/.test(text))).toEqual([]);
      expect(having(/UBLKCP.*MULTICAST/)).toBeGreaterThan(0);
      // Logits are asked for ahead of the products' end, and read four at a time, twice.
      const loss = kernel.name.includes('HopperLossKernel');
      expect(having(/UBLKPF/)).toBe(loss ? 1 : 0);
      const fours = /FloatElement/.test(kernel.name) ? /LDG\.E\.(EF\.)?128/ : /LDG\.E\.(EF\.)?64/;
      if (loss) expect(having(fours), label(kernel)).toBeGreaterThanOrEqual(64);
      expect(having(/\bSTAS\b/)).toBeGreaterThan(0);
      for (const change of ['TRY_ALLOC', 'DEALLOC']) {
        expect(having(new RegExp(`USETMAXREG\\.${change}`))).toBe(1);
      }
    }
  });

  it('adds up rows of two stages for all labels of a cluster, and sends sums 16 bytes at a time, from 9.0 on', ({
    skip,
  }) => {
    if (lacking !== undefined) skip(lacking);
    const found = of(/ClusterTableKernel/);
    expect(found).toHaveLength(3 * ARCHITECTURES.length);
    for (const kernel of found) {
      if (capability(kernel) < FIRST_CLUSTERS) {
        expect(kernel.instructions.length, label(kernel)).toBeLessThan(32);
        continue;
      }
      const texts = kernel.instructions.map(({ text }) => text);
      const having = (part: RegExp) => texts.filter((text) => part.test(text)).length;
      // Loops over two stages, by one read of both indices and by two, and one more stage.
      const first = texts.findIndex((text) => text.includes('LDS.128'));
      const last = texts.findLastIndex((text) => text.includes('LDS.128'));
      const loads = having(/LDS\.128/);
      console.log(`${label(kernel)}: ${last - first} instructions around ${loads} loads of rows`);
      expect(loads, label(kernel)).toBeGreaterThanOrEqual(12);
      expect((last - first) / loads, label(kernel)).toBeLessThan(MOST_PER_ROW_LOAD);
      // The last pass sends sums, the first leaves them in memory.
      const sends = having(/STAS\.128/);
      expect([sends, having(/STG\.E\.128/)], label(kernel)).toEqual(
        kernel.name.includes('Lb1E') ? [4, 0] : [0, 4],
      );
      expect(having(/UBLKCP/), label(kernel)).toBeGreaterThan(0);
    }
  });

  it('reads table rows 16 bytes at a time, and rounds two halves by one instruction', ({
    skip,
  }) => {
    if (lacking !== undefined) skip(lacking);
    for (const kernel of of(/SliceKernel/)) {
      const rows = loopsOf(kernel).flat();
      expect(rows.filter(({ text }) => /LDS(\.U)?\.128/.test(text)).length).toBeGreaterThan(0);
    }
    for (const kernel of of(/SliceKernelILNS0_9SlicePassE1/)) {
      if (capability(kernel) < FIRST_TENSOR_CORES) continue;
      expect(count(kernel.instructions, 'F2FP'), label(kernel)).toBeGreaterThanOrEqual(8);
    }
  });
});
