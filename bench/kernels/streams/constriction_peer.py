"""constriction's ANS coder as a rival of rANS decoding: each row's symbols in one call, its fastest mode.

Arguments: the folder of `values` (int16) and `frequencies` (uint16, 256 a row, of 4096), rows and columns.
"""

import sys

import constriction
import numpy as np
from serve import serve

stack, model = constriction.stream.stack, constriction.stream.model
folder, rows, columns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
values = np.fromfile(f"{folder}/values", np.int16).astype(np.int32).reshape(rows, columns)
frequencies = np.fromfile(f"{folder}/frequencies", np.uint16).reshape(rows, 256)
models, symbols = [], []
for own, counts in zip(values, frequencies):
    used = np.flatnonzero(counts)
    models.append(model.Categorical(counts[used] / 4096, perfect=False))
    symbols.append(np.searchsorted(used, own + 128).astype(np.int32))


def encode():
    coder = stack.AnsCoder()
    for own, table in zip(reversed(symbols), reversed(models)):
        coder.encode_reverse(own, table)
    return coder.get_compressed()


words = encode()


def decode():
    coder = stack.AnsCoder(words)
    return [coder.decode(table, columns) for table in models]


def check():
    wrong = sum(np.count_nonzero(a != b) for a, b in zip(decode(), symbols))
    return [words.nbytes, wrong / values.size]


serve({"constriction": ({"rans-decode": decode, "rans-encode": encode}, check)})
