"""xxh64 with seed 0 of blocks of one size: by the package `xxhash` if it is there, else by NumPy or Python."""

import numpy as np

try:
    import xxhash
except ImportError:
    xxhash = None

P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
MASK = (1 << 64) - 1
# Below so many blocks at a time Python's integers are faster than arrays.
FEWEST_BLOCKS = 4


def xxh64_blocks(data, size):
    """uint64 [blocks] of the blocks of `size` bytes (a multiple of 32) of a bytes-like; the last one may be shorter."""
    data = memoryview(data)
    count = -(-len(data) // size)
    if xxhash is not None:
        return np.array([xxhash.xxh64_intdigest(data[i * size : (i + 1) * size]) for i in range(count)], np.uint64)
    whole = len(data) // size
    if whole < FEWEST_BLOCKS:
        whole = 0
    hashes = np.empty(count, np.uint64)
    if whole > 0:
        hashes[:whole] = _side_by_side(np.frombuffer(data[: whole * size], "<u8").reshape(whole, size // 32, 4))
    for i in range(whole, count):
        hashes[i] = xxh64(data[i * size : (i + 1) * size])
    return hashes


def xxh64(data):
    """xxh64 of a bytes-like as an int."""
    data = memoryview(data)
    length = len(data)
    stripes = length // 32
    if stripes > 0:
        lanes = [(P1 + P2) & MASK, P2, 0, (-P1) & MASK]
        words = np.frombuffer(data[: 32 * stripes], "<u8").tolist()
        for lane in range(4):
            value = lanes[lane]
            for word in words[lane::4]:
                value = (value + word * P2) & MASK
                value = ((value << 31 | value >> 33) & MASK) * P1 & MASK
            lanes[lane] = value
        total = _merge(lanes)
    else:
        total = P5
    return _finish((total + length) & MASK, data[32 * stripes :])


def _side_by_side(words):
    """The same of many whole blocks [blocks, stripes, 4]."""
    with np.errstate(over="ignore"):
        lanes = np.empty((words.shape[0], 4), np.uint64)
        lanes[:] = np.array([(P1 + P2) & MASK, P2, 0, (-P1) & MASK], np.uint64)
        p1, p2, left, right = np.uint64(P1), np.uint64(P2), np.uint64(31), np.uint64(33)
        for i in range(words.shape[1]):
            lanes += words[:, i] * p2
            lanes = ((lanes << left) | (lanes >> right)) * p1
    length = words.shape[1] * 32
    return [_finish((_merge(list(map(int, row))) + length) & MASK, b"") for row in lanes]


def _rotated(value, bits):
    return (value << bits | value >> (64 - bits)) & MASK


def _round(value, word):
    return _rotated((value + word * P2) & MASK, 31) * P1 & MASK


def _merge(lanes):
    total = sum(_rotated(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18))) & MASK
    for lane in lanes:
        total = ((total ^ _round(0, lane)) * P1 + P4) & MASK
    return total


def _finish(value, rest):
    rest = bytes(rest)
    at = 0
    while at + 8 <= len(rest):
        word = int.from_bytes(rest[at : at + 8], "little")
        value = (_rotated(value ^ _round(0, word), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= len(rest):
        word = int.from_bytes(rest[at : at + 4], "little")
        value = (_rotated(value ^ word * P1 & MASK, 23) * P2 + P3) & MASK
        at += 4
    for byte in rest[at:]:
        value = _rotated(value ^ byte * P5 & MASK, 11) * P1 & MASK
    value = (value ^ value >> 33) * P2 & MASK
    value = (value ^ value >> 29) * P3 & MASK
    return value ^ value >> 32
