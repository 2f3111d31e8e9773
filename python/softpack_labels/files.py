"""Files of an archive: safetensors, and shards whose blocks are verified as they are read."""

import hashlib
import json
import os
import struct

import numpy as np

from .errors import SoftpackError
from .xxh64 import xxh64_blocks

BLOCK = 1 << 20
MAX_HEADER = 100 << 20
DTYPES = {
    name: np.dtype(kind)
    for name, kind in {
        **{"U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8"},
        **{"I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8"},
    }.items()
}


def read_file(path, limit=None):
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if limit is not None and size > limit:
                raise SoftpackError("INVALID_FILE", "too large", path, f"at most {limit} bytes", size)
            return file.read()
    except FileNotFoundError:
        raise SoftpackError("NOT_FOUND", "no such file", path) from None


def read_header(path, data, size):
    """(name -> (dtype, shape, begin, end) in the file, where the data section begins) of a safetensors file."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        if length > min(MAX_HEADER, size - 8):
            raise ValueError("length of the header")
        header = json.loads(bytes(data[8 : 8 + length]).decode("utf-8"))
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict):
            raise ValueError("__metadata__")
        tensors = {}
        for name, entry in header.items():
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            dtype = DTYPES[entry["dtype"]]
            count = 1
            for side in entry["shape"]:
                if not isinstance(side, int) or isinstance(side, bool) or side < 0:
                    raise ValueError(name)
                count *= side
            if not (8 + length <= begin <= end <= size) or count * dtype.itemsize != end - begin:
                raise ValueError(name)
            tensors[name] = (dtype, tuple(entry["shape"]), begin, end)
        return tensors, metadata, 8 + length
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        raise SoftpackError("INVALID_FILE", "not a safetensors file", path, found=repr(error)) from None


def read_tensors(folder, record, verify):
    """name -> array of a codec's file."""
    path = os.path.join(folder, record["file"])
    data = read_file(path)
    if len(data) != record["bytes"]:
        raise SoftpackError("CORRUPT_DATA", "wrong size", path, record["bytes"], len(data))
    if verify:
        require_sha256(path, data, record["sha256"])
    tensors, _, _ = read_header(path, data, len(data))
    return {
        name: np.frombuffer(data, dtype, count=(end - begin) // dtype.itemsize, offset=begin).reshape(shape)
        for name, (dtype, shape, begin, end) in tensors.items()
        if not name.startswith("__pad__")
    }


def require_sha256(path, data, expected):
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise SoftpackError("CORRUPT_DATA", "not the file of this archive", path, expected, found)


class CheckedFile:
    """A safetensors file whose last tensor has a checksum of every block. Bytes are mapped into memory; a block is verified
    when it is first read.
    """

    def __init__(self, folder, record, verify):
        self.path = os.path.join(folder, record["file"])
        try:
            self.data = np.memmap(self.path, np.uint8, "r")
        except FileNotFoundError:
            raise SoftpackError("NOT_FOUND", "no such file", self.path) from None
        except ValueError:
            raise SoftpackError("CORRUPT_DATA", "wrong size", self.path, record["bytes"], 0) from None
        if len(self.data) != record["bytes"]:
            raise SoftpackError("CORRUPT_DATA", "wrong size", self.path, record["bytes"], len(self.data))
        tensors, metadata, self.base = read_header(self.path, self.data, len(self.data))
        self._require(metadata, record)
        self.columns = {name.split(".")[0]: entry for name, entry in tensors.items()}
        dtype, _, begin, end = self.columns.get("block_xxh64", (None, (), 0, 0))
        if dtype != np.dtype("<u8") or end - begin != 8 * -(-(begin - self.base) // BLOCK):
            raise SoftpackError("INVALID_FILE", "no checksums", self.path)
        self.end = begin
        self.verified = None
        if verify:
            header, sums = self.data[: self.base].tobytes(), self.data[begin:end].tobytes()
            require_sha256(self.path, header + sums, record["indexSha256"])
            self.sums = np.frombuffer(sums, "<u8")
            self.verified = np.zeros(len(self.sums), bool)

    def read(self, begin, length):
        """Verified bytes from a position of the file on, without a copy."""
        if self.verified is not None and length > 0:
            first, last = (begin - self.base) // BLOCK, (begin + length - 1 - self.base) // BLOCK
            for start in range(first, last + 1):
                if not self.verified[start]:
                    stop = start + 1
                    while stop <= last and not self.verified[stop]:
                        stop += 1
                    self._verify(start, stop)
        return self.data[begin : begin + length]

    def _verify(self, first, stop):
        begin, end = self.base + first * BLOCK, min(self.base + stop * BLOCK, self.end)
        found = xxh64_blocks(self.data[begin:end], BLOCK)
        wrong = np.flatnonzero(found != self.sums[first:stop])
        if len(wrong) > 0:
            field = f"{self.path}: block {first + wrong[0]}"
            raise SoftpackError("CORRUPT_DATA", "checksum does not match", field)
        self.verified[first:stop] = True


class Shard(CheckedFile):
    """A file of labels."""

    def __init__(self, folder, record, archive_id, verify):
        self._archive_id, self._offsets = archive_id, None
        super().__init__(folder, record, verify)
        self.epochs, self.samples = record["epochs"], record["samples"]

    def _require(self, metadata, record):
        found = metadata.get("archive")
        if found != self._archive_id:
            raise SoftpackError("INVALID_FILE", "shard of another archive", self.path, self._archive_id, found)

    def column(self, name, rows, row_bytes):
        """uint8 [rows, bytes of a row] of a column, over the file."""
        entry = self.columns.get(name)
        if entry is None or entry[3] - entry[2] != rows * row_bytes or entry[3] > self.end:
            raise SoftpackError("INVALID_FILE", "column of another size", f"{self.path}: {name}", rows * row_bytes)
        return entry[2]

    def block(self, row, index, labels):
        """Bytes of block `index` of a row of the layout `blocks`, `labels` per block."""
        if self._offsets is None:
            self._offsets = self._read_offsets(labels)
        at = (row - self.epochs[0]) * self._per_row(labels) + index
        begin, end = int(self._offsets[at]), int(self._offsets[at + 1])
        return self.read(self.columns["codes"][2] + begin, end - begin)

    def _per_row(self, labels):
        return -(-(self.samples[1] - self.samples[0]) // labels)

    def _read_offsets(self, labels):
        count = (self.epochs[1] - self.epochs[0]) * self._per_row(labels) + 1
        table, codes = self.columns.get("codes_offsets"), self.columns.get("codes")
        whole = table is not None and codes is not None and table[0] == np.dtype("<u8")
        if not whole or table[3] - table[2] != 8 * count or max(table[3], codes[3]) > self.end:
            raise SoftpackError("INVALID_FILE", "no table of blocks", self.path, f"{count} offsets")
        offsets = np.frombuffer(self.read(table[2], 8 * count).tobytes(), "<u8")
        if offsets[0] != 0 or offsets[-1] != codes[3] - codes[2] or (offsets[1:] < offsets[:-1]).any():
            raise SoftpackError("INVALID_FILE", "blocks that do not follow each other", f"{self.path}: codes_offsets")
        return offsets


def shard_records(folder, manifest, verify):
    """Records of all shards as the manifest of version 1 has them, and shards of a row side by side."""
    if manifest["version"] == 1:
        return manifest["shards"], 1
    extent = (manifest.get("storedEpochs", manifest["epochs"]), manifest["samples"])
    sides = (manifest["grid"]["epochs"], manifest["grid"]["samples"])
    return _table_records(folder, manifest["shardTable"], sides, extent, "codes", verify)


class SampleBlocks:
    """Side data per sample: bytes of a block by its number. Files are opened when they are first needed."""

    def __init__(self, folder, manifest, verify):
        record = manifest["sampleBlocks"]
        self._folder, self._verify, self._codec = folder, verify, manifest["codecFile"]["sha256"]
        self.samples, self.per_block = record["samples"], record["samplesPerBlock"]
        self._width = record["samplesPerFile"]
        sides, extent = (1, self._width), (1, self.samples)
        self._records, _ = _table_records(folder, record["table"], sides, extent, "samples", verify)
        self._files = {}

    def __call__(self, number):
        sample = number * self.per_block
        if not 0 <= sample < self.samples:
            raise SoftpackError("INVALID_FILE", "no such block of side data", self._folder, f"below {self.samples} samples", sample)
        index = sample // self._width
        if index not in self._files:
            self._files[index] = Shard(self._folder, self._records[index], self._codec, self._verify)
        return self._files[index].block(0, number - index * self._width // self.per_block, self.per_block)


def _table_records(folder, record, sides, extent, prefix, verify):
    path = os.path.join(folder, record["file"])
    tensors = read_tensors(folder, record, verify)
    table = tensors.get("shards")
    (tall, wide), (stored, samples) = sides, extent
    down, across = -(-stored // tall), -(-samples // wide)
    if table is None or table.dtype != np.uint8 or table.shape != (down * across, 72):
        raise SoftpackError("INVALID_FILE", "not a table of shards", path, f"{down * across} records of 72 bytes")
    records = []
    for i, row in enumerate(table):
        epoch, sample = i // across * tall, i % across * wide
        records.append(
            {
                "file": f"{prefix}-{i:05}.safetensors",
                "bytes": int(row[:8].view("<u8")[0]),
                "sha256": row[8:40].tobytes().hex(),
                "indexSha256": row[40:72].tobytes().hex(),
                "epochs": [epoch, min(epoch + tall, stored)],
                "samples": [sample, min(sample + wide, samples)],
            }
        )
    return records, across
