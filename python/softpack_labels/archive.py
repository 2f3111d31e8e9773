"""An archive, open for reading."""

import hashlib
import os

import numpy as np

from .codecs import Codes, decoder, has_any_tau
from .errors import SoftpackError
from .files import DTYPES, SampleBlocks, Shard, read_tensors, shard_records
from .manifest import check_part, extent_of, read_manifest
from .predictive import view_numbers
from .pruning import row_samples
from .views import Views

# Labels decoded at a time: a field takes 20 bytes meanwhile.
CHUNK = 1024


def open_archive(folder, verify=True, kernels="auto"):
    """Opens an archive; reads its manifest and codec, no labels.

    verify: every block's checksum when it is first read, and the hash of the codec's files.
    kernels: "native" for softpack's own decoder (see `softpack_labels.build`), "numpy", or "auto" for the better one.
    """
    return Archive(os.fspath(folder), verify, kernels)


class Archive:
    """Labels by (epoch, samples). `classes` and `tau` as in the manifest; `epochs` and `samples` with those of all parts."""

    def __init__(self, folder, verify=True, kernels="auto", _owner=None, _listed=None):
        if kernels not in ("auto", "native", "numpy"):
            raise SoftpackError("INVALID_ARGUMENT", "unknown kernels", "kernels", "auto, native or numpy", kernels)
        self.folder = folder
        self.manifest = manifest = read_manifest(folder, _listed)
        if _owner is not None:
            check_part(folder, _owner, manifest, _listed)
        self.classes, self.samples = manifest["classes"], manifest["samples"]
        self.epochs, self.tau = manifest["epochs"], manifest["tau"]
        self._width = self.samples
        self.stored_epochs = manifest.get("storedEpochs", self.epochs)
        self._view_epochs = manifest.get("views", {"first": 0, "of": self.stored_epochs})
        self.class_names = manifest.get("classNames")
        self.columns = {column["name"]: column for column in manifest["columns"]}
        self._verify = verify
        self._records, self._across = shard_records(folder, manifest, verify)
        self._tall = self._records[0]["epochs"][1] if manifest["version"] == 1 else manifest["grid"]["epochs"]
        self._shards = {}
        layout = manifest["layout"]
        self._bits = layout["bitsPerLabel"] if layout["kind"] == "fixed" else None
        self._per_block = layout["labelsPerBlock"] if layout["kind"] == "blocks" else None
        codec = manifest["codec"]
        tensors = read_tensors(folder, manifest["codecFile"], verify)
        side = read_tensors(folder, manifest["samplesFile"], verify) if "samplesFile" in manifest else {}
        blocks = SampleBlocks(folder, manifest, verify) if "sampleBlocks" in manifest else None
        self._codec = (codec["name"], codec["config"], tensors, side, (self.classes, self._bits), blocks)
        self._decoders = {self.tau: decoder(*self._codec)}
        self._native, self._views = None, None
        if kernels != "numpy":
            from .native import native_decoder

            self._native = native_decoder(codec["name"], codec["config"], tensors, required=kernels == "native")
        self.parts, self._extents = [self], [((0, self.epochs), (0, self.samples))]
        for listed in manifest.get("parts", []):
            path = os.path.join(folder, listed["folder"])
            self.parts.append(Archive(path, verify, kernels, manifest, listed))
            self._extents.append(extent_of(manifest, listed))
        self.epochs = max(epochs[1] for epochs, _ in self._extents)
        self.samples = max(samples[1] for _, samples in self._extents)
        if "sample-parts" in manifest["features"]["required"]:
            self._check_temperatures()

    def _check_temperatures(self):
        """An epoch has one temperature for all samples."""
        changes = {
            epochs[0] + first
            for part, (epochs, _) in zip(self.parts, self._extents)
            for first, _ in part.manifest.get("tauSchedule", [[0, part.tau]])
        }
        for epoch in sorted(changes | {epochs[0] for epochs, _ in self._extents}):
            taus = {part._own_tau(own) for part, own, _, _ in self.parts_of(epoch)} if epoch < self.epochs else ()
            if len(taus) > 1:
                message = "samples of one epoch have several temperatures"
                raise SoftpackError("INVALID_FILE", message, self.folder, found=sorted(taus))

    def parts_of(self, epoch):
        """[(part, epoch in it, its number, (first, after the last) of its samples)] of an epoch, in order of samples. A part
        is an archive itself, with a codec of its own, and counts its epochs and samples from 0.
        """
        if not 0 <= epoch < self.epochs:
            raise SoftpackError("INVALID_ARGUMENT", "no such epoch", "epoch", f"0 to {self.epochs - 1}", epoch)
        found = [
            (self.parts[index], epoch - epochs[0], index, samples)
            for index, (epochs, samples) in enumerate(self._extents)
            if epochs[0] <= epoch < epochs[1]
        ]
        return sorted(found, key=lambda part: part[3])

    def part_of(self, epoch):
        """(part, epoch in it, number of the part) with the first samples of an epoch."""
        return self.parts_of(epoch)[0][:3]

    def view_epoch(self, epoch):
        """The number by which the views of an epoch are drawn."""
        part, epoch, _ = self.part_of(epoch)
        return (part._view_epochs["first"] + epoch % part.stored_epochs) % part._view_epochs["of"]

    @property
    def id(self):
        """sha256 that two archives of the same labels share; softpack's `archive.id`."""
        hashes = [self.manifest["archiveId"]]
        if self.manifest["version"] == 1:
            hashes += [record["sha256"] for record in self._records]
        else:
            hashes.append(self.manifest["shardTable"]["sha256"])
        hashes += [part["sha256"] for part in self.manifest.get("parts", [])]
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    @property
    def kernels(self):
        return "numpy" if self._native is None else "native"

    @property
    def pruned(self):
        """Rows are batches, not epochs: see :meth:`labels_of_row`."""
        return "pruning" in self.manifest

    def temperature_of(self, epoch):
        """Temperature of the labels of an epoch; in a pruned archive, of an epoch of the training."""
        epochs = self.manifest["pruning"]["epochs"] if self.pruned else self.epochs
        if not 0 <= epoch < epochs:
            raise SoftpackError("INVALID_ARGUMENT", "no such epoch", "epoch", f"0 to {epochs - 1}", epoch)
        part, own = (self, epoch) if self.pruned else self.part_of(epoch)[:2]
        return part._own_tau(own)

    def _own_tau(self, epoch):
        runs = self.manifest.get("tauSchedule", [[0, self.tau]])
        return next(tau for first, tau in reversed(runs) if first <= epoch)

    def labels(self, epoch, samples=None, tau=None):
        """float32 [samples, classes]: probabilities at `tau`, by default the epoch's. `samples`: ids, a range or slice, or all.

        In a pruned archive `epoch` is the number of a row, `samples` are positions in it, and `tau` is by default that of the manifest.
        """
        parts = self.parts_of(epoch)
        if len(parts) == 1:
            part, own, _, _ = parts[0]
            return part._own_labels(own, samples, tau)
        ids = _ids(samples, self.samples)
        out = np.empty((len(ids), self.classes), np.float32)
        for part, own, where, local, _ in self.divided(epoch, ids):
            out[where] = part._own_labels(own, local, tau)
        return out

    def divided(self, epoch, ids):
        """(part, epoch in it, places in the list, samples in it, its first sample) for the parts that hold these samples."""
        for part, own, _, (first, end) in self.parts_of(epoch):
            where = np.flatnonzero((ids >= first) & (ids < end))
            if len(where) > 0:
                yield part, own, where, ids[where] - first, first

    def _own_labels(self, epoch, samples, tau):
        row, ids = self._place(epoch, samples)
        if tau is None:
            tau = self.tau if self.pruned else self._own_tau(epoch)
        decode = self._decoder(tau)
        if self._per_block is not None:
            return self._labels_of_blocks(decode, row, ids)
        parts = [(*part, *self._column(part[0], "codes", row)) for part in self._parts(row, ids)]
        out = np.empty((len(ids), self.classes), np.float32)
        for shard, where, local, begin, row_bytes in parts:
            if self._native is not None:
                out[where] = self._native(shard.read(begin, row_bytes), local)
                continue
            for start in range(0, len(local), CHUNK):
                part = local[start : start + CHUNK]
                codes = Codes(shard.read(begin, row_bytes), part * self._bits)
                out[where[start : start + CHUNK]] = decode(codes, part + shard.samples[0])
        return out

    def blocks(self, epoch, samples=None):
        """Layout `blocks`: (places in the answer, positions in a block, its first sample, its labels, its bytes) for every
        block that holds some of these labels.
        """
        if self._per_block is None:
            raise SoftpackError("INVALID_ARGUMENT", "labels of this archive are not in blocks", "blocks")
        row, ids = self._place(epoch, samples)
        for shard, where, local in self._parts(row, ids):
            first, end = shard.samples
            for index in np.unique(local // self._per_block).tolist():
                chosen = np.flatnonzero(local // self._per_block == index)
                start = index * self._per_block
                count = min(self._per_block, end - first - start)
                yield where[chosen], local[chosen] - start, first + start, count, shard.block(row, index, self._per_block)

    def _labels_of_blocks(self, decode, row, ids):
        out = np.empty((len(ids), self.classes), np.float32)
        for where, positions, first, count, data in self.blocks(row, ids):
            out[where] = decode(data, positions, (row, first, count), self._mixes(row, first + positions))
        return out

    def _mixes(self, row, positions):
        """(samples, partners, own shares, what views show) of labels at these positions of a stored row, as far as their codec
        uses them.
        """
        config, views = self._codec[1], row
        samples = positions = np.asarray(positions, np.int64)
        whole = None
        if self.pruned:
            views, whole = self.samples_of_row(row)
            whole = np.asarray(whole, np.int64)
            samples = whole[positions]
        shown = "network" in config
        if not shown and (not config.get("bases") or not config.get("views")):
            return samples, samples, np.ones(len(samples), np.float32), None
        if self._views is None:
            self._views = Views(self, whole=False)
        listed = not self._views.seeded
        at = (row, positions) if listed else (views, samples)
        partner, box, weight = self._views.mixes(*at)
        height, width = self._views.size
        share = np.where(weight < 1, weight, 1 - box[:, 2] * box[:, 3] / (height * width)).astype(np.float32)
        numbers = view_numbers(self._views, *at, partner, box, share) if shown else None
        if listed and whole is not None:
            partner = whole[partner]
        return samples, partner, np.where(partner == samples, np.float32(1), share), numbers

    @property
    def images(self):
        """Number of images that the labels belong to: `samples`, unless rows are batches."""
        return self.manifest["pruning"]["samples"] if self.pruned else self.samples

    def samples_of_row(self, row):
        """Pruned archives: (epoch of the views, sample ids) of one stored batch."""
        if not self.pruned:
            raise SoftpackError("INVALID_ARGUMENT", "archive was not pruned", "row")
        return row_samples(self, row)

    def labels_of_row(self, row, tau=None):
        """The same, and the labels."""
        return *self.samples_of_row(row), self.labels(row, tau=tau)

    def codes(self, epoch):
        """uint8: the packed codes of all samples of an epoch, label i from bit i * `bitsPerLabel` on; of a pruned archive, of a row."""
        part, own, _ = self.part_of(epoch)
        if part._bits is None or len(self.parts_of(epoch)) > 1:
            message = "labels of this epoch are in blocks, or in several parts"
            raise SoftpackError("UNSUPPORTED", message, "codes", "codes of a fixed width")
        return part._own_codes(own)

    def _own_codes(self, epoch):
        row, ids = self._place(epoch, None)
        pieces = []
        for shard, _, local in self._parts(row, ids):
            begin, row_bytes = self._column(shard, "codes", row)
            pieces.append((shard.read(begin, row_bytes), len(local) * self._bits))
        if all(bits % 8 == 0 for _, bits in pieces[:-1]):
            return np.concatenate([data for data, _ in pieces])
        # A shard begins at a byte of its own.
        bits = [np.unpackbits(data, bitorder="little", count=count) for data, count in pieces]
        return np.packbits(np.concatenate(bits), bitorder="little")

    def column(self, name, epoch, samples=None):
        """Rows of another column, e.g. `crop` of recorded views: [samples, values per sample]."""
        parts = self.parts_of(epoch)
        if len(parts) == 1:
            part, own, _, _ = parts[0]
            return part._own_column(name, own, samples)
        ids = _ids(samples, self.samples)
        out = None
        for part, own, where, local, first in self.divided(epoch, ids):
            values = part._own_column(name, own, local)
            # Partners are numbers of samples in the part.
            if name == "partner":
                if (values >= part._width).any():
                    raise SoftpackError("INVALID_FILE", "no such sample", "column partner", f"below {part._width}")
                values = values + values.dtype.type(first)
            out = np.empty((len(ids), values.shape[1]), values.dtype) if out is None else out
            out[where] = values
        return self._own_column(name, parts[0][1], ids) if out is None else out

    def _own_column(self, name, epoch, samples):
        if name not in self.columns or name == "codes":
            names = ", ".join(list(self.columns)[1:]) or "none"
            raise SoftpackError("INVALID_ARGUMENT", "no such column", "column", names, name)
        row, ids = self._place(epoch, samples)
        column = self.columns[name]
        dtype = DTYPES[column["dtype"]]
        each = column["rowBytes"] // self._width // dtype.itemsize
        out = np.empty((len(ids), each), dtype)
        for shard, where, local in self._parts(row, ids):
            begin, row_bytes = self._column(shard, name, row)
            values = shard.read(begin, row_bytes).view(dtype).reshape(-1, each)
            out[where] = values[local]
        return out

    def _decoder(self, tau):
        if tau not in self._decoders:
            name, config, *rest = self._codec
            if not has_any_tau(name, config):
                raise SoftpackError("UNSUPPORTED", f"codec {name} stores labels of one temperature", "tau", self.tau, tau)
            if not 0 < tau < np.inf:
                raise SoftpackError("INVALID_ARGUMENT", "not a temperature", "tau", "a number > 0", tau)
            self._decoders[tau] = decoder(name, {**config, "tau": tau}, *rest)
        return self._decoders[tau]

    def _place(self, epoch, samples):
        return epoch % self.stored_epochs, _ids(samples, self._width)

    def _parts(self, row, ids):
        """(shard, places in the answer, samples in the shard) for the shards that hold these labels of a row."""
        if self.manifest["version"] == 1:
            found = next(i for i, r in enumerate(self._records) if r["epochs"][0] <= row < r["epochs"][1])
            yield self._shard(found), np.arange(len(ids)), ids
            return
        wide = self.manifest["grid"]["samples"]
        for across in np.unique(ids // wide):
            where = np.flatnonzero(ids // wide == across)
            shard = self._shard(row // self._tall * self._across + int(across))
            yield shard, where, ids[where] - shard.samples[0]

    def _shard(self, index):
        shard = self._shards.get(index)
        if shard is None:
            shard = Shard(self.folder, self._records[index], self.manifest["archiveId"], self._verify)
            self._shards[index] = shard
        return shard

    def _column(self, shard, name, row):
        """Where a column's row of a shard begins in its file, and its bytes."""
        count = shard.samples[1] - shard.samples[0]
        if name == "codes":
            row_bytes = -(-count * self._bits // 8)
        else:
            row_bytes = self.columns[name]["rowBytes"] // self._width * count
        rows = shard.epochs[1] - shard.epochs[0]
        return shard.column(name, rows, row_bytes) + (row - shard.epochs[0]) * row_bytes, row_bytes


def _ids(samples, count):
    """int64 [n]: ids, a range or slice, or all."""
    if samples is None:
        samples = range(count)
    elif isinstance(samples, slice):
        samples = range(count)[samples]
    ids = np.asarray(samples, np.int64).reshape(-1)
    if len(ids) > 0 and not (0 <= ids.min() and ids.max() < count):
        found = ids.min() if ids.min() < 0 else ids.max()
        raise SoftpackError("INVALID_ARGUMENT", "no such sample", "samples", f"0 to {count - 1}", found)
    return ids
