"""The order of training: the same samples in the same batches as softpack's loader, for any number of ranks."""

import numpy as np

from .errors import SoftpackError
from .philox import TRAINING, philox, unit


class EpochOrder:
    """A permutation of 0 .. count - 1 for one (seed, epoch), any part of it at a time: a Feistel network."""

    def __init__(self, count, seed, epoch):
        self.count = count
        self.half = max(1, -(-(count - 1).bit_length() // 2))
        self.keys = [int(word) for block in (0, 1) for word in philox(epoch, block, 0, 0, seed)]

    def at(self, positions):
        values = np.array(positions, np.uint64).reshape(-1)
        values = self._permute(values)
        outside = np.flatnonzero(values >= self.count)
        while len(outside) > 0:
            values[outside] = self._permute(values[outside])
            outside = outside[values[outside] >= self.count]
        return values.astype(np.int64)

    def _permute(self, values):
        half, mask = np.uint64(self.half), np.uint64((1 << self.half) - 1)
        left, right = values >> half, values & mask
        for key in self.keys[:6]:
            left, right = right, left ^ (_mix(right ^ np.uint64(key)) & mask)
        return left << half | right


def _mix(x):
    """The 32-bit finaliser of MurmurHash3."""
    word = np.uint64(0xFFFFFFFF)
    x = (x ^ x >> np.uint64(16)) * np.uint64(0x85EBCA6B) & word
    x = (x ^ x >> np.uint64(13)) * np.uint64(0xC2B2AE35) & word
    return x ^ x >> np.uint64(16)


class BatchSampler:
    """Batches of (epoch, sample) for `DataLoader(dataset, batch_sampler=...)`.

    Each iteration gives the batches that are left of the present epoch and goes on to the next one. Batch i of rank r
    of W holds every W-th position of the epoch's order: together the ranks see what one loader of W times the batch
    size would.
    """

    def __init__(
        self, archive, batch_size, seed=0, shuffle=True, drop_last=False, rank=0, world_size=1, resume=None
    ):
        for name, value, low in (("batch_size", batch_size, 1), ("world_size", world_size, 1), ("seed", seed, 0)):
            _whole(name, value, low)
        _whole("rank", rank, 0, world_size - 1)
        self.archive_id, self.samples, self.epochs = archive.id, archive.samples, archive.epochs
        self.batch_size, self.seed, self.shuffle, self.drop_last = batch_size, seed, shuffle, drop_last
        self.rank, self.world_size = rank, world_size
        self._step = batch_size * world_size
        batches = self.samples // self._step if drop_last else -(-self.samples // self._step)
        if batches == 0:
            raise SoftpackError("INVALID_ARGUMENT", "an epoch would have no batches", "batch_size", self.samples)
        self.batches_per_epoch = batches
        self.epoch, self._start = 0, 0
        if resume is not None:
            self._resume(resume)

    def __len__(self):
        """Batches left of the present epoch."""
        return self.batches_per_epoch - -(-self._start // self._step)

    def __iter__(self):
        epoch, start = self.epoch, self._start
        if epoch >= self.epochs:
            return
        order = EpochOrder(self.samples, self.seed, epoch)
        end = self.batches_per_epoch * self._step if self.drop_last else self.samples
        while start < end:
            size = -(-min(self.samples - start, self._step) // self.world_size)
            at = (start + self.rank + np.arange(size) * self.world_size) % self.samples
            ids = order.at(at) if self.shuffle else at
            yield [(epoch, int(sample)) for sample in ids]
            start += self._step
        self.epoch, self._start = epoch + 1, 0

    def set_epoch(self, epoch):
        _whole("epoch", epoch, 0, self.epochs)
        self.epoch, self._start = epoch, 0

    def state(self, epoch, batches):
        """The position after `batches` batches of `epoch`, as softpack's loader writes it: JSON, for `resume`.

        A `DataLoader` asks for batches ahead of the training: only the training knows how many it has used.
        """
        delivered = min(batches * self._step, self.samples)
        if batches >= self.batches_per_epoch:
            epoch, delivered = epoch + 1, 0
        return {
            **{"version": 1, "archiveId": self.archive_id, "seed": self.seed, "shuffle": self.shuffle},
            **{"epoch": epoch, "delivered": delivered},
        }

    def _resume(self, state):
        own = self.state(0, 0)
        for field in ("version", "archiveId", "seed", "shuffle"):
            if state.get(field) != own[field]:
                found = state.get(field)
                raise SoftpackError(
                    "INVALID_ARGUMENT", "the state belongs to another run", f"resume.{field}", own[field], found
                )
        self.epoch = _whole("resume.epoch", state.get("epoch"), 0, self.epochs)
        self._start = _whole("resume.delivered", state.get("delivered"), 0, self.samples)


class PrunedSampler:
    """Batches of (row, position) of a pruned archive, drawn from its rows with replacement as by `prunedBatches`."""

    def __init__(self, archive, seed=0):
        if not archive.pruned:
            raise SoftpackError("INVALID_ARGUMENT", "archive was not pruned: use BatchSampler", "archive")
        self.seed, self.batch_size, self.rows = _whole("seed", seed, 0), archive.samples, archive.epochs
        self.epochs, self.epoch = archive.manifest["pruning"]["epochs"], 0
        self.batches_per_epoch = archive.images // self.batch_size

    def __len__(self):
        return self.batches_per_epoch

    def __iter__(self):
        epoch = self.epoch
        if epoch >= self.epochs:
            return
        words = philox(np.arange(self.batches_per_epoch), epoch, TRAINING, 1, self.seed)[0]
        for row in np.floor(unit(words) * self.rows).astype(np.int64).tolist():
            yield [(row, position) for position in range(self.batch_size)]
        self.epoch = epoch + 1

    def set_epoch(self, epoch):
        self.epoch = _whole("epoch", epoch, 0, self.epochs)


def _whole(field, value, low, high=2**53 - 1):
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    raise SoftpackError("INVALID_ARGUMENT", "not a whole number in range", field, f"{low} to {high}", value)
