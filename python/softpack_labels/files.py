"""Files of an archive: the manifest, safetensors, and shards whose blocks are verified as they are read."""

import hashlib
import json
import os
import struct

import numpy as np

from .errors import SoftpackError
from .xxh64 import xxh64_blocks

BLOCK = 1 << 20
MAX_MANIFEST = 64 << 20
MAX_HEADER = 100 << 20
READER = 2
FEATURES = {"pruned", "rendering"}
DTYPES = {"U8": "u1", "U16": "<u2", "U32": "<u4", "U64": "<u8", "I32": "<i4", "F16": "<f2", "F32": "<f4", "F64": "<f8"}
IDENTITY = (
    ["classes", "samples", "epochs", "storedEpochs", "tau", "codec", "codecFile", "samplesFile", "layout"]
    + ["augmentation", "classNames", "teacher", "images", "pruning", "columns", "grid"]
)


def read_file(path, limit=None):
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if limit is not None and size > limit:
                raise SoftpackError("INVALID_FILE", "too large", path, f"at most {limit} bytes", size)
            return file.read()
    except FileNotFoundError:
        raise SoftpackError("NOT_FOUND", "no such file", path) from None


def read_manifest(folder):
    """The checked manifest of an archive."""
    if not os.path.isdir(folder):
        raise SoftpackError("NOT_FOUND", "no such folder", folder)
    path = os.path.join(folder, "manifest.json")
    if not os.path.exists(path):
        raise SoftpackError("INCOMPLETE", "no manifest: not an archive, or one that was never finished", path)
    try:
        manifest = json.loads(read_file(path, MAX_MANIFEST).decode("utf-8"))
        if manifest["format"] != "softpack":
            raise ValueError("format")
        if manifest["minReader"] > READER:
            raise SoftpackError(
                "UNSUPPORTED", "archive needs a newer reader", path, f"at most {READER}", manifest["minReader"]
            )
        unknown = set(manifest["features"]["required"]) - FEATURES
        if unknown:
            raise SoftpackError("UNSUPPORTED", "archive needs unknown features", path, found=", ".join(sorted(unknown)))
        identity = {key: manifest[key] for key in IDENTITY if key in manifest}
        if manifest["version"] == 1:
            identity.pop("grid", None)
        found = hashlib.sha256(_canonical(identity).encode("utf-8", "surrogatepass")).hexdigest()
    except SoftpackError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SoftpackError("INVALID_FILE", "not a manifest", path, found=repr(error)) from None
    if found != manifest["archiveId"]:
        raise SoftpackError(
            "CORRUPT_DATA", "manifest was changed after it was written", path, manifest["archiveId"], found
        )
    return manifest


def _canonical(value):
    """JSON without white space, keys in the order of UTF-16, numbers as ECMAScript prints them."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_canonical(key)}:{_canonical(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_canonical, value)) + "]"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number(float(value))
    return json.dumps(value, ensure_ascii=False)


def _number(value):
    if value == 0:
        return "0"
    digits, exponent = repr(abs(value)), 0
    if "e" in digits:
        digits, power = digits.split("e")
        exponent = int(power)
    whole, _, fraction = digits.partition(".")
    if fraction == "0":
        fraction = ""
    point = len(whole) + exponent
    digits = whole + fraction
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    digits = stripped.rstrip("0")
    sign = "-" if value < 0 else ""
    if 0 < point <= 21:
        if len(digits) <= point:
            return sign + digits.ljust(point, "0")
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{sign}{mantissa}e{'+' if point > 0 else '-'}{abs(point - 1)}"


def read_header(path, data, size):
    """(name -> (dtype, shape, begin, end) in the file, where the data section begins) of a safetensors file."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        if length > min(MAX_HEADER, size - 8):
            raise ValueError("length of the header")
        header = json.loads(bytes(data[8 : 8 + length]).decode("utf-8"))
        metadata = header.pop("__metadata__", {})
        tensors = {}
        for name, entry in header.items():
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            dtype = np.dtype(DTYPES[entry["dtype"]])
            count = 1
            for side in entry["shape"]:
                count *= side
            if not (8 + length <= begin <= end <= size) or count * dtype.itemsize != end - begin or count < 0:
                raise ValueError(name)
            tensors[name] = (dtype, tuple(entry["shape"]), begin, end)
        return tensors, metadata, 8 + length
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        raise SoftpackError("INVALID_FILE", "not a safetensors file", path, found=repr(error)) from None


def read_tensors(folder, record, verify):
    """name -> array of a codec's file."""
    path = _inside(folder, record["file"])
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


def _inside(folder, name):
    if not isinstance(name, str) or os.path.basename(name) != name or name in ("", ".", ".."):
        raise SoftpackError("INVALID_FILE", "not a file name", os.path.join(folder, "manifest.json"), found=name)
    return os.path.join(folder, name)


class Shard:
    """A file of labels. Bytes are mapped into memory; a block is verified when it is first read."""

    def __init__(self, folder, record, archive_id, verify):
        self.path = _inside(folder, record["file"])
        try:
            self.data = np.memmap(self.path, np.uint8, "r")
        except FileNotFoundError:
            raise SoftpackError("NOT_FOUND", "no such file", self.path) from None
        except ValueError:
            raise SoftpackError("CORRUPT_DATA", "wrong size", self.path, record["bytes"], 0) from None
        if len(self.data) != record["bytes"]:
            raise SoftpackError("CORRUPT_DATA", "wrong size", self.path, record["bytes"], len(self.data))
        tensors, metadata, self.base = read_header(self.path, self.data, len(self.data))
        if metadata.get("archive") != archive_id:
            raise SoftpackError(
                "INVALID_FILE", "shard of another archive", self.path, archive_id, metadata.get("archive")
            )
        self.columns = {name.split(".")[0]: entry for name, entry in tensors.items()}
        self.epochs, self.samples = record["epochs"], record["samples"]
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

    def column(self, name, rows, row_bytes):
        """uint8 [rows, bytes of a row] of a column, over the file."""
        entry = self.columns.get(name)
        if entry is None or entry[3] - entry[2] != rows * row_bytes or entry[3] > self.end:
            raise SoftpackError("INVALID_FILE", "column of another size", f"{self.path}: {name}", rows * row_bytes)
        return entry[2]

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


def shard_records(folder, manifest, verify):
    """Records of all shards as the manifest of version 1 has them, and shards of a row side by side."""
    if manifest["version"] == 1:
        return manifest["shards"], 1
    record = manifest["shardTable"]
    path = _inside(folder, record["file"])
    tensors = read_tensors(folder, record, verify)
    table = tensors.get("shards")
    stored = manifest.get("storedEpochs", manifest["epochs"])
    tall, wide = manifest["grid"]["epochs"], manifest["grid"]["samples"]
    down, across = -(-stored // tall), -(-manifest["samples"] // wide)
    if table is None or table.dtype != np.uint8 or table.shape != (down * across, 72):
        raise SoftpackError("INVALID_FILE", "not a table of shards", path, f"{down * across} records of 72 bytes")
    records = []
    for i, row in enumerate(table):
        epoch, sample = i // across * tall, i % across * wide
        records.append(
            {
                "file": f"codes-{i:05}.safetensors",
                "bytes": int(row[:8].view("<u8")[0]),
                "sha256": row[8:40].tobytes().hex(),
                "indexSha256": row[40:72].tobytes().hex(),
                "epochs": [epoch, min(epoch + tall, stored)],
                "samples": [sample, min(sample + wide, manifest["samples"])],
            }
        )
    return records, across
