"""NumPy as a rival of the kernels of tokens' labels: fields of bits and float16, zstd of sorted ids, and softmax with
the most probable ids.

Arguments: the folder of `ids` (uint32), `log-probs` (float32) and `logits` (float32), the vocabulary, ids a label.
"""

import sys

import numpy as np
from serve import serve

try:
    from pyarrow import Codec
except ImportError:
    Codec = None

folder, vocabulary, top = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
bits = (vocabulary - 1).bit_length()
ids = np.fromfile(f"{folder}/ids", np.uint32).reshape(-1, top)
logs = np.fromfile(f"{folder}/log-probs", np.float32).reshape(-1, top)
logits = np.fromfile(f"{folder}/logits", np.float32).reshape(-1, vocabulary)
weights = (1 << np.arange(bits, dtype=np.uint32))[::-1]
order = np.argsort(ids, axis=1)
sorted_ids = np.take_along_axis(ids, order, 1)
sorted_logs = np.take_along_axis(logs, order, 1)


def probabilities(halves, shape):
    return np.exp(np.frombuffer(halves, np.float16).astype(np.float32)).reshape(shape)


def pack():
    if bits == 16:
        packed = ids.astype("<u2").tobytes()
    else:
        packed = np.packbits((ids[..., None] & weights != 0).reshape(-1)).tobytes()
    return packed, logs.astype(np.float16).tobytes()


packed = pack()


def unpack():
    if bits == 16:
        found = np.frombuffer(packed[0], "<u2").astype(np.uint32)
    else:
        fields = np.unpackbits(np.frombuffer(packed[0], np.uint8), count=ids.size * bits)
        found = fields.reshape(-1, bits) @ weights
    return found.reshape(ids.shape), probabilities(packed[1], ids.shape)


def divergence(found, of_ids, exact):
    """KL of the listed head and one bucket for the rest, nats per label; infinite for other ids."""
    if not (found[0] == of_ids).all():
        return float("inf")
    p, q = np.exp(exact.astype(np.float64)), found[1].astype(np.float64)
    rest, other = np.maximum(1 - p.sum(1), 1e-9), np.maximum(1 - q.sum(1), 1e-9)
    return ((p * np.log(p / q)).sum(1) + rest * np.log(rest / other)).mean()


def check_pack():
    return [len(packed[0]) + len(packed[1]), divergence(unpack(), ids, logs)]


implementations = {f"NumPy, {bits}-bit ids, float16": ({"tokens-decode": unpack, "tokens-encode": pack}, check_pack)}
if Codec:
    zstd = Codec("zstd", compression_level=3)
    raw = sorted_ids.astype("<u4").tobytes() + sorted_logs.astype(np.float16).tobytes()
    data = zstd.compress(raw, asbytes=True)

    def decompress():
        whole = zstd.decompress(data, len(raw), asbytes=True)
        found = np.frombuffer(whole[: 4 * ids.size], "<u4").reshape(ids.shape)
        return found, probabilities(whole[4 * ids.size :], ids.shape)

    implementations["zstd -3 of sorted ids, float16"] = (
        {"tokens-decode": decompress, "tokens-encode": lambda: zstd.compress(raw, asbytes=True)},
        lambda: [len(data), divergence(decompress(), sorted_ids, sorted_logs)],
    )


def most_probable():
    some = np.argpartition(logits, vocabulary - top, axis=1)[:, -top:]
    own = np.take_along_axis(logits, some, 1)
    best = np.argsort(-own, axis=1, kind="stable")
    greatest = logits.max(1, keepdims=True)
    total = np.log(np.exp(logits - greatest).sum(1, keepdims=True))
    return np.take_along_axis(some, best, 1), np.take_along_axis(own, best, 1) - greatest - total


def check_most_probable():
    found, own = most_probable()
    known = logs[: len(logits)]
    wrong = np.abs(own - known).max()  # Equal logits may come in any order.
    return [found.size * 6, wrong]


if sys.argv[4] == "tokens-list":
    implementations = {"NumPy argpartition, softmax": ({"tokens-list": most_probable}, check_most_probable)}
serve(implementations)
