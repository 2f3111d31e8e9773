"""Decoders of all codecs in NumPy."""

import numpy as np

from .errors import SoftpackError
from .transform import transform


def decoder(name, config, tensors, sample_tensors, shape, sample_block=None):
    """`shape`: (classes, bits per label) of the archive. A function (:class:`Codes`, samples) -> float32 [labels, classes]; of
    the layout `blocks` one of (bytes of a block, positions in it, (stored epoch, first sample, labels of the block), mixes).
    A codec that is not known is reported when it is used. `sample_block`: bytes of a block of side data by its number.
    """
    makers = {
        "vqae": _vqae,
        "topk": _top_k,
        "pca": _components,
        "rpca": _components,
        "vq": _vq,
        "scalar": _scalar,
        "none": _none,
        "mean": _mean,
        "transform": lambda own, arrays: transform(own, arrays, sample_block),
        "predictive": lambda own, arrays: transform(own, arrays, sample_block),
    }
    if not isinstance(name, str) or name not in makers:
        return _unknown(name, makers)
    try:
        for key in ("classes", "dh", "dc", "k", "levels"):
            value = config.get(key, 1)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1 << 32:
                raise ValueError(key)
        for key in ("eps", "tau", "scale"):
            if not 0 < config.get(key, 1) < np.inf:
                raise ValueError(key)
        decode, bits = makers[name](config, {**tensors, **sample_tensors})
        if (config["classes"], bits) != shape:
            raise ValueError(f"{config['classes']} classes of {bits} bits, not {shape}")
        return decode
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise SoftpackError("INVALID_FILE", "not the parts of this codec", "codec", name, repr(error)) from None


def has_any_tau(name, config):
    """Whether codes hold logits, which give labels at any temperature."""
    return name in ("transform", "predictive") or (name, config.get("store", config.get("values"))) in (("none", "logits"), ("topk", "logits"))


def _unknown(name, makers):
    def decode(*_):
        raise SoftpackError("UNSUPPORTED", "unknown codec", "codec.name", ", ".join(makers), name)

    return decode


class Codes:
    """Codes of some labels, where they lie in a row: label i begins at bit `first[i]`."""

    def __init__(self, row, first):
        self._row, self._first = row, first

    def __len__(self):
        return len(self._first)

    def fields(self, width, count, offset=0, step=None):
        """Unsigned [labels, count]: fields of at most 32 bits, `step` bits apart, from bit `offset` of each label on."""
        if width == 0 or count == 0 or len(self._first) == 0:
            return np.zeros((len(self._first), count), np.uint32)
        at = self._first[:, None] + (offset + (width if step is None else step) * np.arange(count))
        low = at >> 3
        if width in (8, 16) and not (at & 7).any():
            found = self._row[low].astype(np.uint32)
            return found if width == 8 else found | self._row[low + 1].astype(np.uint32) << np.uint32(8)
        last, kind = len(self._row) - 1, np.uint32 if width <= 25 else np.uint64
        word = self._row[low].astype(kind)
        for byte in range(1, (width + 14) // 8):
            word |= self._row[np.minimum(low + byte, last)].astype(kind) << kind(8 * byte)
        return word >> (at & 7).astype(kind) & kind((1 << width) - 1)

    def halves(self, count, offset=0, step=None):
        """float32 [labels, count] of half floats."""
        values = self.fields(16, count, offset, step).astype(np.uint16).view(np.float16).astype(np.float32)
        if not np.isfinite(values).all():
            raise SoftpackError("INVALID_ARGUMENT", "codes that no encoder writes", "codes", "finite values")
        return values

    def indices(self, width, count, levels, offset=0, step=None):
        found = self.fields(width, count, offset, step)
        if found.size > 0 and found.max() >= levels:
            raise SoftpackError("INVALID_ARGUMENT", "codes that no encoder writes", "codes", f"below {levels}", found.max())
        return found


def _log2(value):
    bits = int(value).bit_length() - 1
    if value != 1 << bits:
        raise ValueError(f"{value} is no power of two")
    return bits


def _floats(tensors, *names):
    """float32 tensors, all of them finite."""
    found = [np.asarray(tensors[name]).astype(np.float32) for name in names]
    for name, values in zip(names, found):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} is not finite")
    return found


def _softmax(z, tau):
    e = np.exp((z - z.max(1, keepdims=True)) / np.float32(tau))
    return e / e.sum(1, keepdims=True)


def _clamped(values, eps):
    np.maximum(values, np.float32(eps), out=values)
    values /= values.sum(1, keepdims=True)
    return values


def _vqae(config, tensors):
    classes, dh, dc, k = (config[name] for name in ("classes", "dh", "dc", "k"))
    codebook, matrix, bias = _floats(tensors, "codebook", "decoder", "bias")
    if codebook.shape != (k, dc) or matrix.shape != (dh, classes) or bias.shape != (classes,):
        raise ValueError("shapes")
    if dh % dc != 0:
        raise ValueError("dc")
    width, stages = _log2(k), dh // dc

    def decode(codes, samples):
        latent = codebook[codes.indices(width, stages, k)].reshape(len(codes), dh)
        return _clamped(latent @ matrix + bias, config["eps"])

    return decode, width * stages


def _vq(config, tensors):
    classes, dc, k = config["classes"], config["dc"], config["k"]
    (codebook,), width, count = _floats(tensors, "codebook"), _log2(k), -(-classes // dc)
    if codebook.shape != (k, dc):
        raise ValueError("shapes")

    def decode(codes, samples):
        values = codebook[codes.indices(width, count, k)].reshape(len(codes), -1)[:, :classes]
        return _clamped(values.copy(), config["eps"])

    return decode, width * count


def _scalar(config, tensors):
    (levels,), width = _floats(tensors, "levels"), _log2(config["levels"])
    if levels.shape != (config["levels"],):
        raise ValueError("shapes")

    def decode(codes, samples):
        return _clamped(levels[codes.indices(width, config["classes"], len(levels))], config["eps"])

    return decode, width * config["classes"]


def _components(config, tensors):
    components, bias = _floats(tensors, "components", "bias")
    if components.shape != (config["k"], config["classes"]) or bias.shape != (config["classes"],):
        raise ValueError("shapes")

    def decode(codes, samples):
        values = (codes.halves(config["k"]).astype(np.float64) @ components) * config["scale"] + bias
        return _clamped(values.astype(np.float32), config["eps"])

    return decode, 16 * config["k"]


def _top_k(config, tensors):
    classes, k, stored, rest = (config[name] for name in ("classes", "k", "values", "rest"))
    if stored not in ("none", "logits", "probabilities") or rest not in ("uniform", "zero") or k > classes:
        raise ValueError("form")
    ids = max(1, (classes - 1).bit_length())
    width = ids if stored == "none" else ids + 16

    def decode(codes, samples):
        n = len(codes)
        classes_of = codes.indices(ids, k, classes, 0, width).astype(np.int64)
        p = np.ones((n, 1), np.float32) if stored == "none" else codes.halves(k, ids, width)
        if stored == "logits":
            p = _softmax(p, config["tau"])
        left = np.zeros((n, 1), np.float32)
        if rest == "uniform" and classes > k:
            left = np.maximum(0, 1 - p.sum(1, keepdims=True)) / np.float32(classes - k)
        labels = np.repeat(left, classes, 1)
        np.put_along_axis(labels, classes_of, np.broadcast_to(p, classes_of.shape), 1)
        return labels / labels.sum(1, keepdims=True)

    return decode, k * width


def _none(config, tensors):
    if config["store"] not in ("logits", "probabilities"):
        raise ValueError(config["store"])

    def decode(codes, samples):
        values = codes.halves(config["classes"])
        if config["store"] == "logits":
            return _softmax(values, config["tau"])
        return values / values.sum(1, keepdims=True)

    return decode, 16 * config["classes"]


def _mean(config, tensors):
    (means,), group = _floats(tensors, "means"), tensors["group"].astype(np.int64)
    if means.ndim != 2 or group.ndim != 1 or means.shape[1] != config["classes"] or group.min(initial=0) < 0 or group.max(initial=0) >= len(means):
        raise ValueError("shapes")

    def decode(codes, samples):
        return _clamped(means[group[samples]].astype(np.float32), 2.0**-24)

    return decode, 0
