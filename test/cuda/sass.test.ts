import { expect, test } from 'vitest';
import { kernelsOf, loopsOf } from './sass.js';

const line = (text: string) => `        /*0000*/                   ${text} ;`;
const labelled = (label: string, ...lines: string[]) =>
  [`${label}:`, ...lines.map(line)].join('\n');

/** A loop with an inner one and a block that lies behind the end, a branch past code, and a call outside of loops. */
const listing = [
  '	.target	sm_90a',
  '	.section	.text._Z6KernelPf,"ax",@progbits',
  ...['S2R R0, SR_TID.X', 'BSSY B0, `(.L_x_1)', '@P0 BRA `(.L_x_1)', 'IADD3 R0, R0, 1'].map(line),
  labelled('.L_x_1', 'BSYNC B0'),
  labelled('.L_x_2', 'LDSM.16.M88.4 R4, [R0]'),
  labelled(
    '.L_x_3',
    'LDS.U.128 R8, [R0]',
    '@!P1 BRA `(.L_x_3)',
    'HMMA.16816.F32.BF16 R4, R4, R8, R4',
  ),
  ...['@P2 BRA `(.L_x_5)'].map(line),
  labelled('.L_x_4', '@P3 BRA `(.L_x_2)', 'CALL.REL.NOINC `(.L_x_9)', 'EXIT'),
  labelled('.L_x_5', 'STL [R1], R4', 'BRA `(.L_x_4)'),
  labelled('.L_x_9', 'MUFU.RCP R1, R1', 'RET.REL.NODEC R2'),
  labelled('.L_x_6', 'BRA `(.L_x_6)'),
].join('\n');

test('loops of machine code are what instructions reach again, wherever they lie', () => {
  const [kernel, ...more] = kernelsOf(listing);
  expect(more).toEqual([]);
  expect(kernel).toMatchObject({ architecture: 'sm_90a', name: '_Z6KernelPf' });
  expect(kernel?.instructions).toHaveLength(18);
  const loops = kernel === undefined ? [] : loopsOf(kernel);
  expect(loops.map((loop) => loop.map(({ opcode }) => opcode))).toEqual([
    ['LDSM', 'LDS', 'BRA', 'HMMA', 'BRA', 'BRA', 'STL', 'BRA'],
  ]);
});
