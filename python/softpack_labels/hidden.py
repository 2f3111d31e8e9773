"""Decoder of the codec `hidden`: hidden states of language models, quantised with a step per label and entropy coded in groups."""

import copy

import numpy as np

from .errors import SoftpackError
from .manifest import Fields
from .rans import RowTables, read_stream
from .token_bits import BitReader, invalid
from .transform import dequantised

CLASSES, GROUP, CLASS_BITS = 8, 128, 3
MAX_WIDTH, MAX_BINS, MAX_EXACT = 1 << 16, 128, 64


class HiddenCodec:
    """Hidden states [labels, width] of a sequence. `head`: the output matrix, or None if it is not stored."""

    def __init__(self, config, tensors, vocabulary):
        fields = Fields("codec", config)
        fields.count("vocabulary", vocabulary, vocabulary)
        self.width = fields.count("width", 1, MAX_WIDTH)
        self.rank = fields.count("rank", 1, self.width)
        self._step, self._states = config.get("step"), config.get("states")
        positive = isinstance(self._step, (int, float)) and 0 < self._step < np.inf
        fields.require(positive, "step", "a number > 0")
        fields.require(self._states in (4, 8), "states", "4 or 8")
        bins = fields.count("bins", 1, MAX_BINS)
        self.head_sha256 = config.get("head")
        self._mean = _tensor(tensors, "mean", "<f4", (self.width,))
        basis = _tensor(tensors, "basis", "<f2", (self.rank, self.width)).astype(np.float32)
        self._basis = basis * _tensor(tensors, "scales", "<f4", (self.rank,))[:, None]
        if not (np.isfinite(self._basis).all() and np.isfinite(self._mean).all()):
            raise SoftpackError("INVALID_FILE", "not a basis", "codec: basis", "finite values")
        self._shifts = (_tensor(tensors, "shifts", "|u1", (self.rank,)).astype(np.float32) - 128) / 128
        self._bins = _tensor(tensors, "bins", "|u1", (CLASSES, self.rank)).astype(np.int64)
        if self._bins.max() >= bins:
            raise SoftpackError("INVALID_FILE", "no such bin", "codec: bins", f"below {bins}", self._bins.max())
        try:
            self._tables = RowTables(tensors["tables"], 2 * bins)
        except (IndexError, KeyError, ValueError) as error:
            raise SoftpackError("INVALID_FILE", "no entropy tables", "codec: tables", "tables", str(error)) from None
        self.exact = None
        if "exact" in config or "exactStep" in config:
            self.exact = _ExactLogits(fields, config, tensors, vocabulary)
        self.head = None
        if "head" in tensors:
            dtype = "<f2" if tensors["head"].dtype == np.float16 else "<f4"
            self.head = _tensor(tensors, "head", dtype, (vocabulary, self.width)).astype(np.float32)

    def decode(self, data, head, start, count):
        """States, float32 [count, width], of labels from `start` on; int32 ids and float32 corrections [count, exact], or None."""
        data = bytes(data)
        groups, table = -(-head.rows // GROUP), -(-head.offsets_at // 8)
        first = table + 4 * max(groups - 1, 0)
        if len(data) < first:
            raise invalid(f"at least {first} bytes", len(data))
        begins = first + np.concatenate([[0], np.frombuffer(data[table:first], "<u4").astype(np.int64)])
        begins = np.append(begins[:groups], len(data))
        out, ids, corrections = np.empty((count, self.width), np.float32), None, None
        if self.exact is not None:
            ids = np.zeros((count, self.exact.most), np.int32)
            corrections = np.zeros(ids.shape, np.float32)
        for group in range(start // GROUP, -(-(start + count) // GROUP)):
            if begins[group] > begins[group + 1] or begins[group + 1] > len(data):
                raise invalid(f"group {group} in the block", begins[group])
            begin, labels = group * GROUP, min(GROUP, head.rows - group * GROUP)
            states, *logits = self._group(data[begins[group] : begins[group + 1]], labels)
            low, high = max(start, begin), min(start + count, begin + labels)
            out[low - start : high - start] = states[low - begin : high - begin]
            if self.exact is not None:
                for all_of, own in zip((ids, corrections), logits):
                    all_of[low - start : high - start] = own[low - begin : high - begin]
        return out, ids, corrections

    def _group(self, data, labels):
        reader = BitReader(data)
        classes = np.array([reader.read(CLASS_BITS) for _ in range(labels)])
        at, values = (reader.position + 7) // 8, np.zeros((labels, self.rank), np.float32)
        for own in np.unique(classes):
            length, at = _varint(data, at)
            if at + length > len(data):
                raise invalid(f"at least {at + length} bytes", len(data))
            tables, bins = copy.copy(self._tables), 2 * self._bins[own]
            tables.of_row = self._tables.of_row[np.stack([bins, bins + 1], 1).ravel()]
            members = np.flatnonzero(classes == own)
            stream = np.frombuffer(data[at : at + length], np.uint8)
            indices = read_stream(stream, tables, self.rank, len(members), self._states)
            step = self._step * 2 ** ((int(own) - 4) / 2)
            values[members] = dequantised(indices, self._shifts, step, self._states)
            at += length
        states = values @ self._basis + self._mean
        if self.exact is not None:
            return states, *self.exact.decode(data[at:], labels)
        if at != len(data):
            raise invalid(f"{at} bytes", len(data))
        return (states,)


class _ExactLogits:
    """Ids of labels whose logits are corrected, and by how much."""

    def __init__(self, fields, config, tensors, vocabulary):
        self.most = fields.count("exact", 1, min(MAX_EXACT, vocabulary - 1))
        self._step, self._vocabulary = config.get("exactStep"), vocabulary
        number = isinstance(self._step, (int, float)) and 1e-6 <= self._step <= 16
        fields.require(number, "exactStep", "1e-6 to 16")
        ids = _tensor(tensors, "ids", "<u2" if vocabulary <= 1 << 16 else "<u4", (vocabulary,))
        if not np.array_equal(np.sort(ids), np.arange(vocabulary)):
            raise SoftpackError("INVALID_FILE", "not a renaming", "codec: ids", "each id once")
        self._ids = ids.astype(np.int32)
        try:
            self._tables = RowTables(tensors["corrections"], 1)
        except (IndexError, KeyError, ValueError) as error:
            raise SoftpackError("INVALID_FILE", "no entropy table", "codec: corrections", "a table", str(error)) from None

    def decode(self, data, labels):
        reader = BitReader(data)
        ids, corrections = np.zeros((labels, self.most), np.int32), np.zeros((labels, self.most), np.float32)
        used = np.zeros(ids.shape, bool)
        for label in range(labels):
            names = reader.set(reader.below(self.most + 1), self._vocabulary)
            ids[label, : len(names)], used[label, : len(names)] = self._ids[names], True
        at, count = (reader.position + 7) // 8, int(used.sum())
        if count > 0:
            stream = np.frombuffer(data[at:], np.uint8)
            units = read_stream(stream, self._tables, 1, count, 1)
            corrections[used] = units.ravel() * np.float64(self._step)
        elif at != len(data):
            raise invalid(f"{at} bytes", len(data))
        return ids, corrections


def _varint(data, at):
    value = 0
    for i, byte in enumerate(data[at : at + 5]):
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, at + i + 1
    raise invalid("a length of up to 5 bytes", "none")


def _tensor(tensors, name, dtype, shape):
    found = tensors.get(name)
    if found is None or found.dtype != np.dtype(dtype) or found.shape != shape:
        raise SoftpackError("INVALID_FILE", "not the parts of this codec", f"codec: {name}", f"{dtype} {shape}")
    return found
