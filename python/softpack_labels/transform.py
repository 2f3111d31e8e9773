"""Decoder of the codecs `transform` and `predictive`: coefficients of the logits' principal components, quantised and entropy coded."""

from collections import namedtuple

import numpy as np

from .errors import SoftpackError
from .predictive import Network
from .rans import NEXT, QUANTISER, RowTables, read_matrix, read_stream

# Decoded blocks of base vectors that are kept: some 20 MB.
KEPT_BLOCKS = 512


# What a codec's parts hold: `basis` float32 [1 + components, classes], the mean first; `shifts` in quantisation steps;
# `vectors_of`: base vectors [ids, components] by ids of samples, or None; `network` or None; entropy tables of labels.
Model = namedtuple("Model", "classes components bases states per_block step tau basis shifts vectors_of network tables")


def read_model(config, tensors, sample_block=None):
    """The :class:`Model` of a codec's parts; ValueError naming one that is wrong."""
    names = ("classes", "components", "bases", "states", "labelsPerBlock", "step", "tau")
    classes, components, bases, states, per_block, step, tau = (config[name] for name in names)
    whole = all(isinstance(value, int) for value in (classes, components, bases, per_block))
    if not whole or states not in (1, 4, 8) or not 1 <= components <= min(classes, 256) or bases < 0 or not 0 < step < np.inf:
        raise ValueError("config")
    steps = tensors["steps"].astype(np.float32)
    shifts = _shifts(tensors, "shifts", components)
    if steps.shape != (1 + components,) or not (np.isfinite(steps) & (steps > 0)).all():
        raise ValueError("steps")
    sides = config.get("sideStates", 1)
    if sides not in (1, 4, 8):
        raise ValueError("config")
    rows = read_matrix(tensors["basis"], 1 + components, classes, sides)
    basis = (_multiples(rows, _side_shifts(tensors, "basis_shifts", 1 + components, sides), sides) * steps).T
    vectors_of = None
    if "basesPerBlock" in config:
        vectors_of = _BlockedVectors(config, tensors, sample_block, basis)
    elif bases > 0:
        values = read_matrix(tensors["bases"], components, bases, sides)
        vectors = _multiples(values, _side_shifts(tensors, "base_shifts", components, sides), sides) * _base_steps(config, tensors)
        if "base_classes" in tensors:
            likeliest, gains = _likeness(config, tensors)
            vectors = vectors + gains * basis[1:, likeliest].T
        vectors_of = vectors.__getitem__
    network = Network(config["network"], components, tensors) if "network" in config else None
    tables = RowTables(tensors["tables"], components, states)
    return Model(classes, components, bases, states, per_block, step, tau, basis, shifts, vectors_of, network, tables)


def transform(config, tensors, sample_block=None):
    """(function of a block, bits per label): see :func:`softpack_labels.codecs.decoder`."""
    model = read_model(config, tensors, sample_block)
    _, components, bases, states, per_block, step, tau, basis, shifts, vectors_of, network, tables = model
    known = {}

    def indices(block):
        """[components, labels] of a block; those of the last one are kept."""
        key = block.tobytes()
        if key not in known:
            labels = int.from_bytes(key[:2], "little")
            if not 1 <= labels <= per_block:
                raise SoftpackError("INVALID_ARGUMENT", "codes that no encoder writes", "codes", f"1 to {per_block} labels", labels)
            values = read_stream(block[2:], tables, components, labels, states)
            known.clear()
            known[key] = values
        return known[key]

    def decode(block, positions, place, mixes):
        values = indices(block)
        if len(positions) and positions.max() >= values.shape[1]:
            raise SoftpackError("INVALID_ARGUMENT", "codes that no encoder writes", "codes", f"below {values.shape[1]}", positions.max())
        latents = dequantised(values[:, positions], shifts, step, states)
        sample, partner, share, numbers = mixes
        if network is not None:
            if max(sample.max(initial=0), partner.max(initial=0)) >= network.samples:
                raise SoftpackError("INVALID_FILE", "no such embedding", "codec.network", f"below {network.samples}")
            latents += network(sample, partner, numbers)
        if vectors_of is not None:
            if max(sample.max(initial=0), partner.max(initial=0)) >= bases:
                raise SoftpackError("INVALID_FILE", "no such base vector", "codec.bases", f"below {bases}")
            latents += share[:, None] * vectors_of(sample) + (1 - share)[:, None] * vectors_of(partner)
        logits = (latents @ basis[1:] + basis[0]).astype(np.float32)
        weights = np.exp((logits - logits.max(1, keepdims=True)) / np.float32(tau))
        return weights / weights.sum(1, keepdims=True)

    return decode, None


def _shifts(tensors, name, rows):
    """float32 [rows], in quantisation steps."""
    shifts = tensors[name]
    if shifts.shape != (rows,):
        raise ValueError(name)
    return (shifts.astype(np.float32) - 128) / 128


def _side_shifts(tensors, name, rows, states):
    """Those of side data, which has some only with a trellis."""
    return None if states == 1 else _shifts(tensors, name, rows)


def _multiples(values, shifts, states):
    """float32 [columns, rows] of side data [rows, columns], in steps."""
    if states == 1:
        return values.T.astype(np.float32)
    return dequantised(values, shifts, np.float32(1), states)


def _base_steps(config, tensors):
    """Steps of base vectors, float32 [components]."""
    components, step = config["components"], config["step"]
    if "base_steps" not in tensors:
        return np.full(components, np.float32(step / 2))
    own = tensors["base_steps"].astype(np.float64)
    if own.shape != (components,) or not (np.isfinite(own) & (own > 0)).all():
        raise ValueError("base_steps")
    return (own * step).astype(np.float32)


def _likeness(config, tensors):
    """The class of each sample, and what entries of components are multiplied with, float32 [components]."""
    classes, components, bases = config["classes"], config["components"], config["bases"]
    likeliest = np.cumsum(read_matrix(tensors["base_classes"], 1, bases)[0])
    gains = tensors["base_gains"].astype(np.float32)
    if likeliest.min() < 0 or likeliest.max() >= classes or gains.shape != (components,) or not np.isfinite(gains).all():
        raise ValueError("base_classes")
    return likeliest, gains


class _BlockedVectors:
    """Base vectors of samples, of which only the blocks that hold them are read."""

    def __init__(self, config, tensors, sample_block, basis):
        self._components, self._steps = config["components"], _base_steps(config, tensors)
        self._states = config.get("sideStates", 1)
        self._shifts = _side_shifts(tensors, "base_shifts", self._components, self._states)
        self._each, self._bases, self._block = config["basesPerBlock"], config["bases"], sample_block
        if sample_block is None or (sample_block.samples, sample_block.per_block) != (self._bases, self._each):
            raise ValueError("sampleBlocks")
        self._tables = RowTables(tensors["base_tables"], self._components, self._states)
        self._likeness = (*_likeness(config, tensors), basis) if config.get("likeness") else None
        self._known = {}

    def __call__(self, ids):
        out = np.empty((len(ids), self._components), np.float32)
        numbers = ids // self._each
        for number in np.unique(numbers).tolist():
            where = np.flatnonzero(numbers == number)
            values = self._values(number)[:, ids[where] - number * self._each]
            out[where] = _multiples(values, self._shifts, self._states) * self._steps
        if self._likeness is not None:
            likeliest, gains, basis = self._likeness
            out += gains * basis[1:, likeliest[ids]].T
        return out

    def _values(self, number):
        if number not in self._known:
            if len(self._known) >= KEPT_BLOCKS:
                self._known.pop(next(iter(self._known)))
            count = min(self._each, self._bases - number * self._each)
            self._known[number] = read_stream(self._block(number), self._tables, self._components, count, self._states)
        return self._known[number]


def dequantised(values, shifts, step, states):
    """float32 [labels, components] of indices [components, labels]."""
    out = np.empty(values.shape[::-1], np.float32)
    walk, unit = np.zeros(values.shape[1], np.int64), step if states == 1 else step / 2
    for j, index in enumerate(values):
        size = np.abs(index)
        if states > 1:
            size = 2 * size - QUANTISER[states][walk] * (size > 0)
            walk = NEXT[states][2 * walk + (index & 1)]
        out[:, j] = np.sign(index) * (size - shifts[j]) * unit
    return out
