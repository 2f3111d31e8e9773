import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { hasModule, python, root } from './python.js';

// One table of escapes alone, one lane in its first state, one word, one escape.
const PROGRAM = `
import sys
import numpy as np
from softpack_labels import SoftpackError
from softpack_labels.rans import read_matrix

def read(*escape):
    tables = [4, 0, 1, 1, 60, 0, 0]
    stream = [0, len(escape), 0, 0, 0, 0, 0, 0]
    return read_matrix(np.array([*tables, *stream, *escape], np.uint8), 1, 1)

for escape in ([0xff, 0xff, 0x04], [0xff] * 5 + [0x7f]):
    try:
        read(*escape)
    except SoftpackError as error:
        print(error.code, error.field, error.found)
`;

it('an escape beyond 16 bits is refused, as by the native decoder', ({ skip }) => {
  skip(!hasModule('numpy'), `${python} has no NumPy; name one by SOFTPACK_PYTHON`);
  const found = execFileSync(python, ['-c', PROGRAM], {
    encoding: 'utf8',
    env: { ...process.env, PYTHONPATH: `${root}python`, PYTHONDONTWRITEBYTECODE: '1' },
  });
  const refused = 'INVALID_ARGUMENT codes escape';
  expect(found.trim().split('\n')).toEqual([refused, refused]);
});
