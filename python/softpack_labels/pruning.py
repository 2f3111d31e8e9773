"""Which samples the stored batches of a pruned archive hold."""

import numpy as np

from .errors import SoftpackError
from .philox import TRAINING, philox, unit


def row_samples(archive, row):
    """(epoch of the views, sample ids) of stored batch `row`: drawn from the seed, or listed in a column."""
    pruning = archive.manifest["pruning"]
    if "seed" in pruning:
        return batch_samples(pruning, archive.samples, row)
    ids = archive.column("sample", row)[:, 0].astype(np.int64)
    if ids.max() >= pruning["samples"]:
        raise SoftpackError("INVALID_FILE", "no such sample", f"column sample, row {row}", f"below {pruning['samples']}", ids.max())
    return row, ids


def batch_samples(pruning, batch_size, row):
    """(epoch, sample ids) of stored batch `row`."""
    samples, seed = pruning["samples"], pruning["seed"]
    each = samples // batch_size
    epoch, index = divmod(row, each)
    if row < 0 or epoch >= pruning["epochs"]:
        raise SoftpackError("INVALID_ARGUMENT", "no such batch", "row", f"below {each * pruning['epochs']}", row)
    count = (index + 1) * batch_size
    words = np.stack(philox(np.arange(-(-count // 4)), epoch, TRAINING, 0, seed), 1).reshape(-1)[:count]
    items = np.arange(samples)
    left = samples - np.arange(count)
    for i, j in enumerate((np.arange(count) + np.floor(unit(words) * left).astype(np.int64)).tolist()):
        items[i], items[j] = items[j], items[i]
    return epoch, items[index * batch_size : count]
