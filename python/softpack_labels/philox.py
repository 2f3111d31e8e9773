"""Philox4x32-10 (Salmon et al. 2011) on arrays of counters."""

import numpy as np

CROP, FLIP, MIX, TRAINING = 0, 1, 2, 4


def philox(c0, c1, c2, c3, seed):
    """Four uint32 arrays of the counters' shape."""
    x0, x1, x2, x3 = (np.asarray(c, np.uint64) for c in np.broadcast_arrays(c0, c1, c2, c3))
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
    for _ in range(10):
        a, b = x0 * np.uint64(0xD2511F53), x2 * np.uint64(0xCD9E8D57)
        x0, x1, x2, x3 = (b >> half) ^ x1 ^ np.uint64(k0), b & mask, (a >> half) ^ x3 ^ np.uint64(k1), a & mask
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return tuple(x.astype(np.uint32) for x in (x0, x1, x2, x3))


def unit(words):
    """[0, 1) in float64."""
    return np.asarray(words, np.float64) * 2.0**-32


def below(words, bound):
    """Integers in [0, bound)."""
    return np.floor(np.asarray(words, np.float64) * bound / 2.0**32).astype(np.int64)
