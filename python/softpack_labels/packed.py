"""Images that `softpack pack-images` packed: pixels, or JPEGs, which Pillow decodes."""

import io
import os

import numpy as np

from .errors import SoftpackError
from .files import CheckedFile
from .manifest import MAX_SHARDS, MAX_SIDE, Fields, read_json, require_id

FORMAT = "softpack images"
MAX_IMAGE = 1 << 30
IDENTITY = ("count", "encoding", "sourceId", "fingerprint", "size", "classNames", "shards")


def is_packed(folder):
    """Whether a folder says that it holds packed images."""
    try:
        return read_json(os.path.join(folder, "manifest.json"))["format"] == FORMAT
    except (SoftpackError, OSError, KeyError, TypeError):
        return False


class PackedImages:
    """`images[sample]` is uint8 [height, width, 3]. A block of a file is verified when it is first read."""

    def __init__(self, folder, archive=None, verify=True):
        self.folder, self._verify, self._shards = os.fspath(folder), verify, {}
        self.manifest = manifest = _read_manifest(self.folder)
        self.classes, self._ends = manifest.get("classNames"), [record["samples"][1] for record in manifest["shards"]]
        #: By this an archive knows the images: that of the files if decoding gives their exact pixels.
        self.id = manifest["imagesId"] if manifest["sourceId"] is None else manifest["sourceId"]
        if archive is not None:
            self._require(archive)

    def __len__(self):
        return self.manifest["count"]

    def __getitem__(self, sample):
        if not 0 <= sample < len(self):
            raise SoftpackError("INVALID_ARGUMENT", "no such image", "sample", f"0 to {len(self) - 1}", sample)
        index = int(np.searchsorted(self._ends, sample, side="right"))
        shard = self._shards.get(index)
        if shard is None:
            shard = self._shards[index] = _ImageShard(self.folder, self.manifest, index, self._verify)
        return shard.image(int(sample))

    def __getstate__(self):
        """Worker processes map the files themselves."""
        return {**self.__dict__, "_shards": {}}

    def _require(self, archive):
        """Labels of other images would train a student on noise without a word."""
        if len(self) != archive.images:
            message = "not the images of this archive"
            raise SoftpackError("INVALID_ARGUMENT", message, "images", archive.images, len(self))
        expected = (archive.manifest.get("images") or {}).get("id", self.id)
        if expected != self.id:
            message = "not the images of this archive, or decoded otherwise"
            raise SoftpackError("INVALID_ARGUMENT", message, "images", expected, self.id)


class _ImageShard(CheckedFile):
    def __init__(self, folder, manifest, index, verify):
        record = manifest["shards"][index]
        super().__init__(folder, record, verify)
        self.first, end = record["samples"]
        count, self.encoding, self.size = end - self.first, manifest["encoding"], manifest["size"]
        self.offsets = self._table("offsets", "<u8", count + 1)
        self.sizes = self._table("sizes", "<u4", 2 * count).reshape(count, 2)
        data = self.columns.get("data")
        if data is None or data[3] > self.end:
            raise SoftpackError("INVALID_FILE", "no images", self.path)
        self.begin, self.length = data[2], data[3] - data[2]

    def _require(self, metadata, record):
        begin, end = record["samples"]
        found = (metadata.get("format"), metadata.get("samples"))
        if found != (FORMAT, f"{begin}:{end}"):
            raise SoftpackError("INVALID_FILE", "not the images expected", self.path, f"{begin}:{end}", str(found))

    def _table(self, name, dtype, count):
        entry, dtype = self.columns.get(name), np.dtype(dtype)
        if entry is None or entry[0] != dtype or entry[3] - entry[2] != count * dtype.itemsize or entry[3] > self.end:
            raise SoftpackError("INVALID_FILE", "table of another size", f"{self.path}: {name}", count)
        return np.frombuffer(self.read(entry[2], count * dtype.itemsize).tobytes(), dtype)

    def image(self, sample):
        i = sample - self.first
        begin, end = int(self.offsets[i]), int(self.offsets[i + 1])
        height, width = map(int, self.sizes[i])
        sides = 1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE and self.size in (None, [height, width])
        raw = self.encoding != "raw" or end - begin == height * width * 3
        if not (begin < end <= self.length and end - begin <= MAX_IMAGE and sides and raw):
            found = f"bytes {begin} to {end} of {self.length}, {height} x {width}"
            raise SoftpackError("INVALID_FILE", "not a valid image", f"{self.path}: image {sample}", found=found)
        data = self.read(self.begin + begin, end - begin)
        if self.encoding == "raw":
            return data.reshape(height, width, 3)
        return self._decoded(data.tobytes(), sample, height, width)

    def _decoded(self, data, sample, height, width):
        from PIL import Image

        field = f"{self.path}: image {sample}"
        try:
            with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
                found = [image.height, image.width]
                pixels = np.asarray(image.convert("RGB")) if found == [height, width] else None
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise SoftpackError("INVALID_FILE", "not an image that Pillow reads", field, found=str(error)) from None
        if pixels is None:
            raise SoftpackError("INVALID_FILE", "image of another size", field, f"{height} x {width}", str(found))
        return pixels


def _read_manifest(folder):
    path = os.path.join(folder, "manifest.json")
    value = read_json(path)
    manifest = Fields(path, value)
    manifest.require(manifest.get("format") == FORMAT, "format", FORMAT)
    least = manifest.count("minReader", 1)
    if least > 1:
        raise SoftpackError("UNSUPPORTED", "packed images need a newer reader", f"{path}: minReader", 1, least)
    _check(manifest)
    require_id(manifest, IDENTITY, "imagesId")
    return value


def _check(manifest):
    count = manifest.count("count", 1, (1 << 32) - 1)
    manifest.require(manifest.get("encoding") in ("raw", "jpeg"), "encoding", "raw or jpeg")
    for name in ("sourceId", "size"):
        manifest.require(name in manifest.value, name, "a value or null")
    if manifest.get("sourceId") is not None:
        manifest.text("sourceId")
    if manifest.get("size") is not None:
        sides = manifest.pair("size", 1, MAX_SIDE)
        manifest.require(all(isinstance(side, int) for side in sides), "size", "whole numbers")
    if "classNames" in manifest.value:
        manifest.texts("classNames")
    shards, following = manifest.list("shards"), 0
    manifest.require(len(shards) <= MAX_SHARDS, "shards", f"at most {MAX_SHARDS}")
    for shard in shards:
        shard.file_record()
        shard.text("indexSha256")
        begin, end = shard.pair("samples", 0, count)
        whole = isinstance(end, int) and not isinstance(end, bool) and begin == following < end
        shard.require(whole, "samples", f"from {following} on")
        following = end
    manifest.require(following == count, "shards", f"all of {count} samples")
