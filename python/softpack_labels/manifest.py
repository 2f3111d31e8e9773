"""The checked manifest of an archive."""

import hashlib
import json
import math
import os
import re

from .errors import SoftpackError
from .files import DTYPES, read_file

MAX_MANIFEST = 64 << 20
MAX_COUNT = 1 << 32
MAX_SHARDS = 1 << 20
MAX_SIDE = 65535
MAX_RUNS = 65536
MAX_PARTS = 1000
PART = re.compile(r"part-[0-9]{5}")
READER = 2
FEATURES = {"pruned", "listed", "rendering", "tau-schedule", "views", "parts", "sample-parts", "sample-blocks", "side-trellis", "coded-text", "likeness", "exact-logits", "counted-draws"}
IDENTITY = (
    *("classes", "samples", "epochs", "storedEpochs", "views", "tau", "tauSchedule", "codec", "codecFile", "samplesFile", "sampleBlocks", "layout"),
    *("augmentation", "classNames", "teacher", "images", "pruning", "columns", "grid"),
)


def read_manifest(folder, listed=None):
    """Refuses archives of newer readers before anything else, then whatever contradicts the format.

    listed: what an archive says of its part in this folder, whose manifest must be the one that was listed.
    """
    if not os.path.isdir(folder):
        raise SoftpackError("NOT_FOUND", "no such folder", folder)
    path = os.path.join(folder, "manifest.json")
    if not os.path.exists(path):
        raise SoftpackError("INCOMPLETE", "no manifest: not an archive, or one that was never finished", path)
    json_value = read_json(path, listed)
    manifest = Fields(path, json_value)
    if manifest.get("format") != "softpack":
        raise SoftpackError("INVALID_FILE", "not an archive of softpack", f"{path}: format", "softpack")
    least = manifest.count("minReader", 1)
    if least > READER:
        raise SoftpackError("UNSUPPORTED", "archive needs a newer reader", f"{path}: minReader", READER, least)
    unknown = set(manifest.fields("features").texts("required")) - FEATURES
    if unknown:
        raise SoftpackError("UNSUPPORTED", "archive needs unknown features", path, found=", ".join(sorted(unknown)))
    _check(manifest, manifest.count("version", 1))
    require_id(manifest, IDENTITY, "archiveId")
    return json_value


def read_json(path, listed=None):
    data = read_file(path, MAX_MANIFEST)
    if listed is not None and hashlib.sha256(data).hexdigest() != listed["sha256"]:
        raise SoftpackError("CORRUPT_DATA", "not the manifest of this part", path, listed["sha256"])
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SoftpackError("INVALID_FILE", "not JSON", path, found=str(error)) from None


def require_id(manifest, identity, name):
    """A manifest's id is the hash of those of its fields that make it up."""
    value = manifest.value
    content = {key: value[key] for key in identity if key in value}
    try:
        found = hashlib.sha256(canonical(content).encode("utf-8", "surrogatepass")).hexdigest()
    except (OverflowError, RecursionError) as error:
        raise SoftpackError("INVALID_FILE", "not a manifest", manifest.where, found=str(error)) from None
    expected = manifest.text(name)
    if found != expected:
        message = "manifest was changed after it was written"
        raise SoftpackError("CORRUPT_DATA", message, manifest.where, expected, found)


class Fields:
    """An object of untrusted JSON: `INVALID_FILE` names the field that is not what it must be."""

    def __init__(self, where, value):
        self.where = where
        self.value = value
        self.require(isinstance(value, dict), None, "an object")

    def require(self, holds, name, expected):
        if not holds:
            field = self.where if name is None else f"{self.where}: {name}"
            found = self.value if name is None else self.value.get(name)
            raise SoftpackError("INVALID_FILE", "not valid", field, expected, str(found)[:100])

    def get(self, name):
        return self.value.get(name)

    def count(self, name, low, high=MAX_COUNT):
        value = self.get(name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        self.require(whole and low <= value <= high, name, f"a whole number from {low} to {high}")
        return value

    def number(self, name, low, high=math.inf):
        value = self.get(name)
        real = isinstance(value, (int, float)) and not isinstance(value, bool)
        self.require(real and low <= value <= high and abs(value) < math.inf, name, f"a number from {low} to {high}")
        return value

    def text(self, name):
        self.require(isinstance(self.get(name), str), name, "a text")
        return self.get(name)

    def texts(self, name):
        value = self.get(name)
        self.require(isinstance(value, list) and all(isinstance(item, str) for item in value), name, "texts")
        return value

    def pair(self, name, low, high):
        """Two numbers, as Python objects of their kind."""
        value = self.get(name)
        self.require(isinstance(value, list) and len(value) == 2, name, "two numbers")
        both = Fields(f"{self.where}: {name}", {"0": value[0], "1": value[1]})
        return both.number("0", low, high), both.number("1", low, high)

    def file_record(self):
        name = self.text("file")
        self.require(os.path.basename(name) == name and name not in ("", ".", "..") and "\0" not in name, "file", "a name")
        self.count("bytes", 0, 2**53)
        self.text("sha256")

    def fields(self, name):
        return Fields(f"{self.where}: {name}", self.get(name))

    def list(self, name):
        value = self.get(name)
        self.require(isinstance(value, list), name, "a list")
        return [Fields(f"{self.where}: {name}[{i}]", item) for i, item in enumerate(value)]


def _check(manifest, version):
    samples = manifest.count("samples", 1)
    manifest.count("classes", 1)
    epochs = manifest.count("epochs", 1)
    stored = manifest.count("storedEpochs", 1, epochs) if "storedEpochs" in manifest.value else epochs
    manifest.require(manifest.number("tau", 0) > 0, "tau", "above 0")
    features = manifest.fields("features").texts("required")
    for feature, field in (
        *(("tau-schedule", "tauSchedule"), ("views", "views")),
        *(("parts", "parts"), ("sample-blocks", "sampleBlocks")),
    ):
        manifest.require((feature in features) == (field in manifest.value), field, "named by features.required")
    if "views" in features:
        views = manifest.fields("views")
        views.count("first", 0, views.count("of", 1) - 1)
    if "parts" in features:
        manifest.require("pruning" not in manifest.value, "parts", "none: rows are batches")
        _check_parts(manifest, epochs, samples)
    named = any("samples" in part.value for part in manifest.list("parts")) if "parts" in features else False
    manifest.require(("sample-parts" in features) == named, "parts", "named by features.required")
    if "tau-schedule" in features:
        _check_schedule(manifest, manifest.fields("pruning").count("epochs", 1) if "pruning" in manifest.value else epochs)
    manifest.fields("codec").text("name")
    manifest.fields("codec").fields("config")
    for name in ("codecFile", "samplesFile"):
        if name == "codecFile" or name in manifest.value:
            manifest.fields(name).file_record()
    if "sampleBlocks" in manifest.value:
        blocks = manifest.fields("sampleBlocks")
        count, each = blocks.count("samples", 1, MAX_COUNT), blocks.count("samplesPerBlock", 1, 1 << 16)
        width = blocks.count("samplesPerFile", 1, MAX_COUNT)
        blocks.require(width >= count or width % each == 0, "samplesPerFile", f"a multiple of {each}")
        blocks.require(-(-count // width) <= MAX_SHARDS, "samplesPerFile", f"at most {MAX_SHARDS} files")
        blocks.fields("table").file_record()
    layout = manifest.fields("layout")
    layout.text("kind")
    layout.require(layout.get("kind") in ("fixed", "blocks"), "kind", "fixed or blocks")
    if layout.get("kind") == "fixed":
        layout.count("bitsPerLabel", 0)
    else:
        layout.count("labelsPerBlock", 1, 65536)
    if manifest.get("augmentation") is not None:
        manifest.fields("augmentation")
    if "classNames" in manifest.value:
        manifest.texts("classNames")
    if manifest.get("images") is not None:
        manifest.fields("images")
    if "pruning" in manifest.value:
        pruning = manifest.fields("pruning")
        pruning.count("samples", samples)
        pruning.count("epochs", 1)
        if "seed" in pruning.value:
            pruning.count("seed", 0, 2**53)
    columns = manifest.list("columns")
    manifest.require(len(columns) > 0 and columns[0].get("name") == "codes", "columns", "codes first")
    for column in columns:
        column.text("name")
        column.require(column.get("dtype") in list(DTYPES), "dtype", ", ".join(DTYPES))
        row_bytes = column.count("rowBytes", 0, 2**53)
        whole = column is columns[0] or row_bytes % (samples * DTYPES[column.get("dtype")].itemsize) == 0
        column.require(whole, "rowBytes", "whole values of every sample")
    if "pruning" in manifest.value and "seed" not in pruning.value:
        lists = [column for column in columns if column.get("name") == "sample"]
        listed = [(column.get("dtype"), column.get("rowBytes")) for column in lists] == [("U32", 4 * samples)]
        manifest.require(listed, "columns", "sample, U32, one per label, or a seed in pruning")
    if version > 1:
        manifest.fields("shardTable").file_record()
        grid = manifest.fields("grid")
        shards = -(-stored // grid.count("epochs", 1)) * -(-samples // grid.count("samples", 1))
        manifest.require(shards <= MAX_SHARDS, "grid", f"at most {MAX_SHARDS} shards")
        return
    first = 0
    for shard in manifest.list("shards"):
        shard.file_record()
        shard.text("indexSha256")
        shard.require(shard.get("samples") == [0, samples], "samples", "all")
        begin, end = shard.pair("epochs", 0, epochs)
        shard.require(begin == first and isinstance(end, int) and end > begin, "epochs", f"from {first} on")
        first = end
    manifest.require(first == epochs, "shards", f"{epochs} epochs")


def _check_schedule(manifest, epochs):
    runs = manifest.get("tauSchedule")
    manifest.require(isinstance(runs, list) and 1 <= len(runs) <= MAX_RUNS, "tauSchedule", "runs of epochs")
    after = 0
    for i in range(len(runs)):
        run = Fields(f"{manifest.where}: tauSchedule", {"0": runs[i]})
        pair = run.get("0")
        run.require(isinstance(pair, list) and len(pair) == 2, "0", "first epoch and temperature")
        both = Fields(f"{manifest.where}: tauSchedule[{i}]", {"epoch": pair[0], "tau": pair[1]})
        after = both.count("epoch", after, 0 if i == 0 else epochs - 1) + 1
        both.require(both.number("tau", 0) > 0, "tau", "above 0")


def extent_of(archive, part):
    """(epochs, samples) of a part, each (first, after the last)."""
    return tuple(part["epochs"]), tuple(part.get("samples", (0, archive["samples"])))


def _check_parts(manifest, epochs, samples):
    parts = manifest.list("parts")
    manifest.require(1 <= len(parts) <= MAX_PARTS, "parts", f"1 to {MAX_PARTS}")
    manifest.require(len({str(part.get("folder")) for part in parts}) == len(parts), "parts", "folders of their own")
    ordered, after = all("samples" not in part.value for part in parts), epochs
    for part in parts:
        part.require(PART.fullmatch(part.text("folder")) is not None, "folder", "like part-00001")
        for name in ("epochs", "samples"):
            if name == "epochs" or name in part.value:
                begin, end = part.pair(name, 0, MAX_COUNT)
                part.require(isinstance(begin, int) and isinstance(end, int) and end > begin, name, "a range")
        part.require(not ordered or part.get("epochs")[0] == after, "epochs", f"from {after} on")
        after = part.get("epochs")[1]
        part.count("bytes", 1, MAX_MANIFEST)
        part.text("sha256")
    if not ordered:
        extents = [((0, epochs), (0, samples)), *(extent_of(manifest.value, part.value) for part in parts)]
        _check_cover(manifest, extents)


def _check_cover(manifest, extents):
    """Every label must be in one part."""
    labels = 0
    for i, ((e0, e1), (s0, s1)) in enumerate(extents):
        labels += (e1 - e0) * (s1 - s0)
        for (f0, f1), (t0, t1) in extents[:i]:
            manifest.require(not (f0 < e1 and e0 < f1 and t0 < s1 and s0 < t1), "parts", "labels of their own")
    every = max(end for (_, end), _ in extents) * max(end for _, (_, end) in extents)
    manifest.require(labels == every, "parts", f"all of {every} labels")


def check_part(folder, archive, part, listed):
    """A part must hold what the archive says of it, and labels of its classes and teacher."""
    own = Fields(os.path.join(folder, "manifest.json"), part)
    epochs, samples = extent_of(archive, listed)
    own.require("parts" not in part and "pruning" not in part, "parts", "none: this is a part itself")
    own.require(part["epochs"] == epochs[1] - epochs[0], "epochs", epochs[1] - epochs[0])
    own.require(part["samples"] == samples[1] - samples[0], "samples", samples[1] - samples[0])
    same = samples == (0, archive["samples"])
    for name in ("classes", "classNames", "teacher", *(("images",) if same else ())):
        own.require(canonical(part.get(name)) == canonical(archive.get(name)), name, "that of the archive")
    for value in () if same else (archive, part):
        views = value.get("augmentation") or {"generator": "recorded"}
        own.require(views.get("generator", "recorded") == "recorded", "augmentation", "recorded views, or none")


def canonical(value):
    """JSON without white space, keys in the order of UTF-16, numbers as ECMAScript prints them."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{canonical(key)}:{canonical(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number(float(value))
    return json.dumps(value, ensure_ascii=False)


def _number(value):
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "null"
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
