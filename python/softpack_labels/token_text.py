"""Ids of texts that are coded: as places in the labels before them, or as octaves of names; docs/tokens.md has the format."""

import numpy as np

from .errors import SoftpackError
from .token_bits import TEXT_GROUP, BitReader, invalid

MOST_RANKS = 32
MAX_BITS = 12


class TextCode:
    def __init__(self, lengths, ids, entries):
        self._ids, self._ranks = ids, min(entries, MOST_RANKS)
        symbols = self._ranks + len(ids).bit_length()
        if lengths is None or lengths.dtype != np.uint8 or lengths.shape != (2, symbols):
            raise SoftpackError("INVALID_FILE", "not the parts of this codec", "codec: text", f"u1 (2, {symbols})")
        sums = [sum(1 << (MAX_BITS - int(n)) for n in own if n > 0) for own in lengths.clip(max=MAX_BITS)]
        if lengths.max() > MAX_BITS or max(sums) > 1 << MAX_BITS or lengths[1, : self._ranks].any():
            raise SoftpackError("INVALID_FILE", "not a code", "codec: text", "lengths of a prefix code")
        self._codes = [_symbols(own.tolist()) for own in lengths]

    def ids(self, data, head, start, count, listed):
        """Ids of positions from `start` on; `listed(row)` gives the entries of a label, as texts are told by them."""
        groups, group, end = -(-head.length // TEXT_GROUP), start // TEXT_GROUP, start + count
        begin = head.text_at + 32 * groups
        ends = BitReader(data, head.text_at + 32 * max(group - 1, 0))
        reader = BitReader(data, begin + (ends.read(32) if group > 0 else 0))
        for first in range(group * TEXT_GROUP, end, TEXT_GROUP):
            last, behind = begin + ends.read(32), min(first + TEXT_GROUP, end)
            if reader.position > last or last > head.mask_at:
                raise invalid(f"a group from bit {reader.position} to {head.mask_at}", last)
            for position in range(first, behind):
                row = position - 1 - head.first
                found = self._next(reader, listed(row) if 0 <= row < head.rows else None)
                if position >= start:
                    yield found
            whole = behind == min(first + TEXT_GROUP, head.length)
            if reader.position > last or whole and reader.position != last:
                raise invalid(f"a text up to bit {last}", reader.position)

    def _next(self, reader, entries):
        code, length = 0, 0
        symbols = self._codes[entries is None]
        while (length, code) not in symbols:
            if length == MAX_BITS:
                raise invalid("codes of a text", "others")
            code, length = 2 * code + reader.read(1), length + 1
        symbol = symbols[length, code]
        if symbol < self._ranks:
            return entries[symbol] if symbol < len(entries) else 0
        octave = symbol - self._ranks
        name = (1 << octave) + reader.read(octave) - 1
        if name >= len(self._ids):
            raise invalid(f"names below {len(self._ids)}", name)
        return self._ids[name]


def _symbols(lengths):
    """Symbols by (length, code): codes ascend by length, then by symbol."""
    out, code = {}, 0
    for length in range(1, MAX_BITS + 1):
        for symbol, own in enumerate(lengths):
            if own == length:
                out[length, code] = symbol
                code += 1
        code *= 2
    return out
