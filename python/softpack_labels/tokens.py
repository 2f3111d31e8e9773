"""Labels of tokens: what a language model says of the next token, of some positions of texts."""

import os
from collections import namedtuple

import numpy as np

from .archive import Archive
from .codecs import Codes
from .errors import SoftpackError
from .hidden import HiddenCodec
from .manifest import Fields
from .token_bits import TEXT_GROUP, SequenceHead, bits_for, invalid
from .token_text import TextCode

TAILS = ("sampled", "ghost", "uniform", "prior", "zero")
MAX_VOCABULARY = 1 << 22
MAX_WORD = 1 << 32
LEAST_PRIOR = -80
ROUNDING = 2.0**-20

#: `tokens`: int32 ids, or None if only labels are stored. Labels are of positions `first` to `first + labels`.
TokenText = namedtuple("TokenText", "tokens first labels")
#: ids int32 and probabilities float32 [count, width], next int32 (-1: not known) and counts uint8 [count].
TokenLabels = namedtuple("TokenLabels", "ids probabilities next counts tail first")
#: hidden float32 [count, width], behind the teacher's last norm; `next` and `counts` as above. Logits are hidden @ head.T, to which
#: `corrections`, float32 [count, exact], are added at `ids`, int32 [count, exact]; entries without use add 0. None without any.
HiddenLabels = namedtuple("HiddenLabels", "hidden next counts first ids corrections", defaults=(None, None))


def open_tokens(folder, verify=True):
    """Opens an archive of labels of tokens; reads its manifest and codec, no labels."""
    return TokenArchive(os.fspath(folder), verify)


class TokenArchive:
    """
    Texts and labels by sequence. `width`: entries of a label; those behind the last one have probability 0. `prior`:
    float32 [vocabulary], the shape of the tail if `tail` is "prior". Of hidden states `kind` is "hidden", `width` their
    dimensions, and `head` the teacher's output matrix if it is stored.
    """

    def __init__(self, folder, verify=True):
        self._archive = Archive(folder, verify, "numpy")
        name, config, tensors, *_ = self._archive._codec
        if name not in ("tokens", "hidden"):
            raise SoftpackError("UNSUPPORTED", "not an archive of labels of tokens", "codec", "tokens or hidden", name)
        self.vocabulary, self.sequences = self._archive.classes, self._archive.samples
        self._text_code = None
        self.kind, self.head, self.head_sha256, self.tail, self.prior = "listed", None, None, None, None
        if name == "hidden":
            self.kind, self._codec = "hidden", HiddenCodec(config, tensors, self.vocabulary)
            self.head, self.head_sha256 = self._codec.head, self._codec.head_sha256
        else:
            self._codec = _TokenCodec(config, tensors, self.vocabulary)
            self.tail, self.prior = self._codec.tail, self._codec.prior
            self._text_code = self._codec.text_code
        self.width = self._codec.width

    def text(self, sequence):
        data, head = self._read(sequence)
        tokens = None if head.length is None else self._ids(sequence, data, head, 0, head.length)
        return TokenText(tokens, head.first, head.rows)

    def labels(self, sequence, start=0, count=None):
        """Labels `start` to `start + count` of a sequence, by default all."""
        data, head = self._read(sequence)
        start = _integer(start, "start", head.rows)
        count = head.rows - start if count is None else _integer(count, "count", head.rows - start)
        following, counts = np.full(count, -1, np.int32), np.ones(count, np.uint8)
        begin = head.first + start + 1
        known = min(count, (head.length or 0) - begin)
        if known > 0:
            following[:known] = self._ids(sequence, data, head, begin, known)
        if head.masked:
            counts[:] = Codes(data, np.array([head.mask_at + start])).fields(1, count)[0]
        if self.kind == "hidden":
            try:
                hidden, ids, corrections = self._codec.decode(data, head, start, count)
            except SoftpackError as error:
                raise self._at(sequence, error) from None
            return HiddenLabels(hidden, following, counts, head.first + start, ids, corrections)
        ids, probabilities = np.zeros((count, self.width), np.int32), np.zeros((count, self.width), np.float32)
        try:
            reader = head.reader_at(data, start, self._codec.decode) if count > 0 else None
            for row in range(count):
                own, p = self._codec.decode(reader)
                ids[row, : len(own)], probabilities[row, : len(p)] = own, p
        except SoftpackError as error:
            raise self._at(sequence, error) from None
        return TokenLabels(ids, probabilities, following, counts, self.tail, head.first + start)

    def _read(self, sequence):
        sequence = _integer(sequence, "sequence", self.sequences - 1)
        ((_, _, _, _, data),) = self._archive.blocks(0, [sequence])
        try:
            return data, SequenceHead(data, self.vocabulary, self._text_code is not None)
        except SoftpackError as error:
            raise self._at(sequence, error) from None

    def _ids(self, sequence, data, head, start, count):
        if self._text_code is not None:
            return self._coded_ids(sequence, data, head, start, count)
        bits = bits_for(self.vocabulary)
        ids = Codes(data, np.array([head.text_at + start * bits])).fields(bits, count)[0].astype(np.int32)
        if count > 0 and ids.max() >= self.vocabulary:
            raise self._at(sequence, invalid(f"ids below {self.vocabulary}", ids.max()))
        return ids

    def _coded_ids(self, sequence, data, head, start, count):
        """Labels before and in the range are decoded one after the other: ids are told by them."""
        begin = max(start - start % TEXT_GROUP - 1 - head.first, 0)
        try:
            reader = head.reader_at(data, begin, self._codec.decode) if begin < head.rows else None
            ids = self._text_code.ids(data, head, start, count, lambda _: self._codec.text_ids(reader))
            return np.fromiter(ids, np.int32)
        except SoftpackError as error:
            raise self._at(sequence, error) from None

    def _at(self, sequence, error):
        place = f"{self._archive.folder}, sequence {sequence}"
        return SoftpackError("INVALID_FILE", "not a sequence of labels", place, error.expected, error.found)


class _TokenCodec:
    def __init__(self, config, tensors, vocabulary):
        fields = Fields("codec", config)
        self.vocabulary = fields.count("vocabulary", vocabulary, vocabulary)
        fields.require(vocabulary <= MAX_VOCABULARY, "vocabulary", f"at most {MAX_VOCABULARY}")
        self.k = fields.count("k", 0, min(vocabulary, 1024))
        fields.require(config.get("values") in ("float16", "vq"), "values", "float16 or vq")
        self._vq = config["values"] == "vq"
        self.ordered = fields.count("ordered", int(self._vq), min(self.k, 32) if self._vq else 0)
        self.stages = fields.count("stages", int(self._vq), 16 if self._vq else 0)
        self.samples = fields.count("samples", 0, 256)
        fields.require(config.get("draws", "counted") == "counted", "draws", "counted, or absent")
        self._counted = "draws" in config
        self.tail = config.get("tail")
        agrees = (self.tail == "sampled") == (self.samples > 0) and self.k + self.samples > 0
        fields.require(self.tail in TAILS and agrees, "tail", "sampled with samples, another one without")
        self.width = self.k + self.samples
        coded = "text" in config
        fields.require(not coded or config["text"] == "coded", "text", "coded, or absent")
        ids = _tensor(tensors, "ids", "<u2" if coded and vocabulary <= 1 << 16 else "<u4", (vocabulary,))
        if not np.array_equal(np.sort(ids), np.arange(vocabulary)):
            raise SoftpackError("INVALID_FILE", "not a renaming", "codec: ids", "each id once")
        self._ids = ids.tolist()
        entries = self.k or (self.samples if self._counted else 0)
        self.text_code = TextCode(tensors.get("text"), self._ids, entries) if coded else None
        self.prior = None
        if self.tail == "prior":
            logs = _tensor(tensors, "prior", "<f2", (vocabulary,)).astype(np.float32)
            if not ((logs <= 0) & (logs >= LEAST_PRIOR)).all():
                raise SoftpackError("INVALID_FILE", "not a prior", "codec: prior", f"logarithms from {LEAST_PRIOR} to 0")
            self.prior = np.exp(logs)
        if not self._vq:
            return
        width = self.ordered + (self.k > self.ordered)
        self._codebooks = _tensor(tensors, "codebooks", "<f4", (self.stages, 256, width))
        self._scale = _tensor(tensors, "scale", "<f4", (width,))
        if not (np.isfinite(self._codebooks).all() and np.isfinite(self._scale).all() and (self._scale > 0).all()):
            raise SoftpackError("INVALID_FILE", "not codebooks and their scale", "codec: scale", "finite, above 0")

    def decode(self, reader):
        """Ids and probabilities of the next label."""
        ids, p = self._quantised(reader) if self._vq else self._exact(reader)
        p = _bounded(p)
        if self.samples == 0:
            return ids, p
        read = reader.counted if self._counted else reader.multiset
        drawn = read(self.samples, self.vocabulary)
        each = max(1 - sum(p.tolist()), 0) / len(drawn)
        place, p = {own: i for i, own in enumerate(ids)}, p.tolist()
        for name in drawn:
            own = self._ids[name]
            if own not in place:
                place[own] = len(ids)
                ids.append(own)
                p.append(0.0)
            p[place[own]] += each
        return ids, _bounded(np.array(p, np.float32))

    def text_ids(self, reader):
        """Ids of the next label in the order in which texts are told by them."""
        ids, p = self.decode(reader)
        return ids if self.k > 0 else [ids[i] for i in np.argsort(-p, kind="stable")]

    def _exact(self, reader):
        if self.k == 0:
            return [], np.zeros(0, np.float32)
        names = reader.set(reader.below(self.k + 1), self.vocabulary)
        halves = np.array([reader.read(16) for _ in names], np.uint16).view(np.float16).astype(np.float32)
        if not (halves <= 0).all():
            raise invalid("log-probabilities of at most 0", halves.max())
        order = np.argsort(-halves, kind="stable")
        return [self._ids[names[i]] for i in order], np.exp(halves[order].astype(np.float64)).astype(np.float32)

    def _quantised(self, reader):
        left = reader.set(self.k, self.vocabulary)
        digits = []
        for begin, end, limit in self._words():
            word, own = reader.below(limit), []
            for rank in range(end - 1, begin - 1, -1):
                word, digit = divmod(word, self.k - rank)
                own.append(digit)
            digits += own[::-1]
        names = [left.pop(digit) for digit in digits] + left
        values = np.zeros(self._codebooks.shape[2], np.float32)
        for codebook in self._codebooks:
            values += codebook[reader.read(8)]
        p = np.exp(np.minimum(values / self._scale, 0).astype(np.float64))
        others = self.k - self.ordered
        if others > 0:
            p = np.concatenate([p[:-1], np.full(others, p[-1] / others)])
        return [self._ids[name] for name in names], p.astype(np.float32)

    def _words(self):
        """(first rank, end, values) of the numbers that hold the order."""
        begin, limit = 0, 1
        for rank in range(self.ordered):
            if limit * (self.k - rank) > MAX_WORD:
                yield begin, rank, limit
                begin, limit = rank, 1
            limit *= self.k - rank
        yield begin, self.ordered, limit


def _bounded(p):
    total = float(p.sum(dtype=np.float64))
    return p if total <= 1 else (p / (total * (1 + ROUNDING))).astype(np.float32)


def _tensor(tensors, name, dtype, shape):
    found = tensors.get(name)
    if found is None or found.dtype != np.dtype(dtype) or found.shape != shape:
        raise SoftpackError("INVALID_FILE", "not the parts of this codec", f"codec: {name}", f"{dtype} {shape}")
    return found


def _integer(value, name, high):
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not 0 <= value <= high:
        raise SoftpackError("INVALID_ARGUMENT", "out of range", name, f"0 to {high}", value)
    return int(value)
