"""Entropy-coded matrices of small integers: interleaved rANS, as docs/codecs.md describes it."""

import numpy as np

from .errors import SoftpackError

_SLOTS, _LEAST, _ESCAPE = 4096, 65536, -128
# States of dependent quantisation: the next one by 2 * state + parity, and the quantiser of each.
NEXT = {
    4: np.array([0, 2, 2, 0, 1, 3, 3, 1]),
    8: np.array([0, 1, 3, 2, 5, 4, 6, 7, 1, 0, 2, 3, 4, 5, 7, 6]),
}
QUANTISER = {4: np.array([0, 0, 1, 1]), 8: np.array([0, 1, 0, 1, 0, 1, 0, 1])}


class RowTables:
    """Entropy tables and which row (and quantiser) has which, read from the beginning of `data`; `rest` are the bytes after."""

    def __init__(self, data, rows, states=1):
        count = rows if states == 1 else 2 * rows
        size = int(data[0]) | int(data[1]) << 8
        listed, self.of_row, self.rest = data[2 : 2 + size], data[2 + size : 2 + size + count], data[2 + size + count :]
        if len(listed) != size or len(self.of_row) != count:
            raise ValueError("tables are cut off")
        tables, at = [], 0
        while at < size:
            n, first = int(listed[at]), int(listed[at + 1])
            weights = np.zeros(256, np.int64)
            weights[0], own = _weights(listed[at + 2 : at + 3])[0], _weights(listed[at + 3 : at + 3 + n])
            if not n or not first or first + n > 256 or len(own) != n or not weights[0]:
                raise ValueError("no entropy table")
            weights[first : first + n] = own
            tables.append(_frequencies(weights))
            at += 3 + n
        if count and (not tables or self.of_row.max() >= len(tables)):
            raise ValueError("no such entropy table")
        # By slot: frequency, slot - start of its symbol, value.
        symbols = np.stack([np.repeat(np.arange(256), own) for own in tables])
        starts = np.stack([np.cumsum(own) - own for own in tables])
        self.frequency = np.stack([own[s] for own, s in zip(tables, symbols)]).astype(np.uint64)
        self.offset = np.stack([np.arange(_SLOTS) - own[s] for own, s in zip(starts, symbols)]).astype(np.uint64)
        self.value = np.where(symbols == 0, _ESCAPE, symbols - 128).astype(np.int32)

    def entries(self):
        """uint32 [tables, 4096], as native/core/rans.h has them."""
        value = self.value.astype(np.uint64) & np.uint64(255)
        return (self.frequency - np.uint64(1) | self.offset << np.uint64(12) | value << np.uint64(24)).astype(np.uint32)


def _weights(codes):
    codes = codes.astype(np.int64)
    if len(codes) and codes.max() > 60:
        raise ValueError("no weight")
    return np.where(codes == 0, 0, (4 + (codes - 1) % 4) << np.maximum(codes - 1, 0) // 4)


def _frequencies(weights):
    shares = np.where(weights == 0, 0, np.maximum(1, _SLOTS * weights // weights.sum()))
    left = _SLOTS - shares.sum()
    if left > 0:
        shares[shares.argmax()] += left
    for _ in range(-left):
        shares[shares.argmax()] -= 1
    return shares


def read_matrix(data, rows, columns, states=1):
    """int32 [rows, columns] of a tensor: tables, then one stream."""
    tables = RowTables(data, rows, states)
    return read_stream(tables.rest, tables, rows, columns, states)


def read_stream(data, tables, rows, columns, states):
    """int32 [rows, columns] of one stream. `states`: of the trellis, 1 for none."""
    try:
        return _Stream(data, tables, rows, columns, states).read()
    except (IndexError, ValueError) as error:
        raise SoftpackError("INVALID_ARGUMENT", "codes that no encoder writes", "codes", "a whole stream", str(error)) from None


class _Stream:
    def __init__(self, data, tables, rows, columns, states):
        self._data = data = data.tobytes()
        lanes, (size, at) = data[0], self._varint(1)
        if lanes > 5 or at + (4 << lanes) + size > len(data) or (len(data) - size - at) % 2:
            raise ValueError("lengths")
        self._lanes, first = 1 << lanes, at + (4 << lanes)
        self._x = np.frombuffer(data[at:first], "<u4").astype(np.uint64)
        self._words = np.frombuffer(data[first : len(data) - size], "<u2").astype(np.uint64)
        self._escape = len(data) - size
        self._tables, self._shape, self._states = tables, (rows, columns), states

    def _varint(self, at):
        value, shift = 0, 0
        while True:
            byte = self._data[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value, at
            if shift > 48:
                raise ValueError("number")

    def read(self):
        rows, columns = self._shape
        out, walk = np.empty((rows, columns), np.int32), np.zeros(columns, np.int64)
        chosen, word = self._tables.of_row.astype(np.int64), 0
        for row in range(rows):
            if self._states == 1:
                table = np.full(columns, chosen[row])
            else:
                table = chosen[2 * row + QUANTISER[self._states][walk]]
            for begin in range(0, columns, self._lanes):
                word = self._step(out[row], table, begin, word)
            for column in np.flatnonzero(out[row] == _ESCAPE):
                folded, self._escape = self._varint(self._escape)
                if folded >> 16:
                    raise ValueError("escape")
                out[row, column] = -(folded + 1) // 2 if folded & 1 else folded // 2
            if self._states > 1:
                walk = NEXT[self._states][2 * walk + (out[row] & 1)]
        if word != len(self._words) or self._escape != len(self._data) or (self._x != _LEAST).any():
            raise ValueError("left over")
        return out

    def _step(self, out, table, begin, word):
        """One value of every lane; gives the number of words read so far."""
        own = table[begin : begin + self._lanes]
        n = len(own)
        slot = (self._x[:n] & np.uint64(_SLOTS - 1)).astype(np.int64)
        out[begin : begin + n] = self._tables.value[own, slot]
        x = self._tables.frequency[own, slot] * (self._x[:n] >> np.uint64(12)) + self._tables.offset[own, slot]
        low = np.flatnonzero(x < _LEAST)
        x[low] = x[low] << np.uint64(16) | self._words[word + np.arange(len(low))]
        self._x[:n] = x
        return word + len(low)
