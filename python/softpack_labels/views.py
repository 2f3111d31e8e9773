"""The augmented views that labels belong to: drawn from the archive's seed, or recorded label by label."""

import math

import numpy as np

from .errors import SoftpackError
from .files import DTYPES
from .manifest import MAX_SIDE, Fields
from .philox import CROP, FLIP, MIX, below, philox, unit

CROP_ATTEMPTS = 10
SMALLEST_ALPHA = 1e-5
BETA_ATTEMPTS = 1000


def _rounded(value):
    """To the nearest integer, halves up."""
    whole = math.floor(value)
    return whole + (value - whole >= 0.5)


class Views:
    """How the image of any (epoch, sample) was made. `size`: height and width of every view."""

    def __init__(self, archive, whole=True):
        """whole: with the views of all parts of an archive, by the numbers of its samples; else of its own labels alone."""
        spec = archive.manifest["augmentation"]
        if spec is None:
            raise SoftpackError("UNSUPPORTED", "archive does not say how its images were made", "augmentation")
        fields = Fields("augmentation", spec)
        self.seeded = fields.get("generator") == "philox4x32-10"
        if not self.seeded and fields.get("generator") != "recorded":
            found = str(fields.get("generator"))
            raise SoftpackError("UNSUPPORTED", "unknown generator", "augmentation.generator", found=found)
        self.size = tuple(map(int, fields.pair("size", 1, MAX_SIDE)))
        resample, rounding = spec.get("resample", "bilinear"), spec.get("round", "none")
        fields.require(resample in ("bilinear", "antialias"), "resample", "bilinear or antialias")
        fields.require(rounding in ("none", "u8"), "round", "none or u8")
        self.antialias, self.round = resample == "antialias", rounding == "u8"
        if self.seeded:
            self._seed = fields.count("seed", 0, 2**53)
            crop, mix = fields.fields("crop"), fields.fields("mix")
            self._scale, self._ratio = crop.pair("scale", 0, 1), crop.pair("ratio", 1e-6, 1e6)
            self._flip = fields.number("flip", 0, 1)
            self._mix = mix.get("kind")
            mix.require(self._mix in ("none", "cutmix", "mixup"), "kind", "none, cutmix or mixup")
            if self._mix != "none":
                self._alpha, self._probability = mix.number("alpha", 0, 1), mix.number("probability", 0, 1)
        else:
            self._require_columns(archive)
        self._archive = archive
        # Parts may have views of their own, made when they are used.
        self._parts = {} if whole and len(archive.parts) > 1 else None
        self._shares = not self.seeded and archive.columns["crop"]["dtype"] == "F32"

    def _require_columns(self, archive):
        """Values per sample of every recorded column."""
        kinds = {"crop": ("U16", "F32"), "flip": ("U8",), "partner": ("U32",), "box": ("U16",), "weight": ("F32",)}
        sides = {"crop": 4, "box": 4}
        for name, dtypes in kinds.items():
            column = archive.columns.get(name)
            if column is None and name != "crop":
                continue
            width = 0 if column is None else column["rowBytes"] // archive.manifest["samples"] // DTYPES[column["dtype"]].itemsize
            if column is None or column["dtype"] not in dtypes or width != sides.get(name, 1):
                raise SoftpackError("INVALID_FILE", "not a record of views", f"columns: {name}", " or ".join(dtypes))

    def _divided(self, epoch, samples):
        """(views, epoch, places in the list, samples, first sample) of the parts that hold these samples."""
        for part, own, where, local, first in self._archive.divided(epoch, samples):
            if id(part) not in self._parts:
                views = Views(part, whole=False)
                if views.size != self.size:
                    found = ("augmentation.size", self.size, views.size)
                    raise SoftpackError("UNSUPPORTED", "parts have views of several sizes", *found)
                self._parts[id(part)] = views
            yield self._parts[id(part)], own, where, local, first

    def _drawn(self, epoch):
        return epoch if self._archive.pruned else self._archive.view_epoch(epoch)

    def mixes(self, epoch, samples):
        """(partner [n], box [n, 4], weight [n]): the sample's own id where nothing is mixed in."""
        samples = np.asarray(samples, np.int64)
        partner, box = samples.copy(), np.zeros((len(samples), 4), np.int64)
        weight = np.ones(len(samples), np.float32)
        if self._parts is not None:
            for views, own, where, local, first in self._divided(epoch, samples):
                partner[where], box[where], weight[where] = views.mixes(own, local)
                partner[where] += first
            return partner, box, weight
        if not self.seeded:
            self._recorded_mixes(epoch, samples, partner, box, weight)
            return partner, box, weight
        if self._mix == "none":
            return partner, box, weight
        epoch = self._drawn(epoch)
        chosen, other, y, x = philox(samples, epoch, MIX, 0, self._seed)
        others = below(other, self._archive.images)
        for i in np.flatnonzero(unit(chosen) < self._probability):
            share = self._beta(epoch, int(samples[i]), self._alpha)
            if self._mix == "mixup":
                weight[i] = share
                if weight[i] < 1:
                    partner[i] = others[i]
                continue
            found = self._box(share, int(y[i]), int(x[i]))
            if found is not None:
                partner[i], box[i] = others[i], found
        return partner, box, weight

    def crops(self, epoch, samples, sizes):
        """int [n, 4]: (top, left, height, width) in pixels of images of `sizes` [n, 2]."""
        samples = np.asarray(samples, np.int64)
        if self._parts is not None:
            crops, sizes = np.zeros((len(samples), 4), np.int64), np.asarray(sizes)
            for views, own, where, local, _ in self._divided(epoch, samples):
                crops[where] = views.crops(own, local, sizes[where])
            return crops
        if not self.seeded:
            return self._recorded_crops(epoch, samples, np.asarray(sizes))
        epoch = self._drawn(epoch)
        (low, high), ratio = self._scale, self._ratio
        logs = math.log(ratio[0]), math.log(ratio[1])
        crops, left = np.zeros((len(samples), 4), np.int64), np.arange(len(samples))
        for attempt in range(CROP_ATTEMPTS):
            words = np.stack(philox(samples[left], epoch, CROP, attempt, self._seed), 1)
            rejected = []
            for i, (a, b, c, d) in zip(left.tolist(), words.tolist()):
                height, width = map(int, sizes[i])
                area = height * width * (low + a * 2.0**-32 * (high - low))
                aspect = math.exp(logs[0] + b * 2.0**-32 * (logs[1] - logs[0]))
                w, h = _rounded(math.sqrt(area * aspect)), _rounded(math.sqrt(area / aspect))
                if 0 < w <= width and 0 < h <= height:
                    top, start = c * (height - h + 1) >> 32, d * (width - w + 1) >> 32
                    crops[i] = top, start, h, w
                else:
                    rejected.append(i)
            left = np.array(rejected, np.int64)
            if len(left) == 0:
                break
        for i in left:
            crops[i] = _centre_crop(*map(int, sizes[i]), ratio)
        return crops

    def flips(self, epoch, samples):
        """bool [n]."""
        samples = np.asarray(samples, np.int64)
        if self._parts is not None:
            flips = np.zeros(len(samples), bool)
            for views, own, where, local, _ in self._divided(epoch, samples):
                flips[where] = views.flips(own, local)
            return flips
        if self.seeded:
            epoch = self._drawn(epoch)
            return unit(philox(samples, epoch, FLIP, 0, self._seed)[0]) < self._flip
        if "flip" not in self._archive.columns:
            return np.zeros(len(samples), bool)
        return self._archive._own_column("flip", epoch, samples)[:, 0] == 1

    def _beta(self, epoch, sample, alpha):
        draws = BETA_ATTEMPTS if alpha >= SMALLEST_ALPHA else 0
        for draw in range(1, draws + 1):
            a, b, _, _ = philox(sample, epoch, MIX, draw, self._seed)
            a, b = int(a) * 2.0**-32, int(b) * 2.0**-32
            if alpha == 1:
                return a
            x, y = a ** (1 / alpha), b ** (1 / alpha)
            if 0 < x + y <= 1:
                return x / (x + y)
        a, b, _, _ = philox(sample, epoch, MIX, BETA_ATTEMPTS, self._seed)
        return 0.0 if a < b else 1.0

    def _box(self, share, y, x):
        height, width = self.size
        side = math.sqrt(1 - share)
        half_height = math.floor(height * side) // 2
        half_width = math.floor(width * side) // 2
        centre_y, centre_x = y * height >> 32, x * width >> 32
        top, left = max(centre_y - half_height, 0), max(centre_x - half_width, 0)
        rows = min(centre_y + half_height, height) - top
        columns = min(centre_x + half_width, width) - left
        return (top, left, rows, columns) if rows > 0 and columns > 0 else None

    def _recorded_mixes(self, epoch, samples, partner, box, weight):
        columns = self._archive.columns
        if "partner" not in columns:
            return
        others = self._archive._own_column("partner", epoch, samples)[:, 0].astype(np.int64)
        boxes = self._archive._own_column("box", epoch, samples).astype(np.int64) if "box" in columns else box.copy()
        weights = self._archive._own_column("weight", epoch, samples)[:, 0] if "weight" in columns else weight.copy()
        height, width = self.size
        inside = (boxes[:, 0] + boxes[:, 2] <= height) & (boxes[:, 1] + boxes[:, 3] <= width)
        valid = (others < self._archive.manifest["samples"]) & inside & (weights >= 0) & (weights <= 1)
        if not valid.all():
            wrong = samples[np.flatnonzero(~valid)[0]]
            raise SoftpackError("INVALID_FILE", "not a valid record of a view", f"epoch {epoch}, sample {wrong}")
        cut = (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
        blended = ~cut & (weights < 1)
        box[cut], weight[blended] = boxes[cut], weights[blended]
        partner[cut | blended] = others[cut | blended]

    def _recorded_crops(self, epoch, samples, sizes):
        values = self._archive._own_column("crop", epoch, samples).astype(np.float64)
        if not self._shares:
            crops = values.astype(np.int64)
        else:
            if not ((values >= 0) & (values <= 1)).all():
                raise SoftpackError("INVALID_FILE", "crop outside of the image", f"column crop, epoch {epoch}")
            pixels = np.floor(values * np.tile(sizes, 2) + 0.5).astype(np.int64)
            start = np.maximum(0, np.minimum(pixels[:, :2], sizes - pixels[:, 2:]))
            crops = np.concatenate([start, np.maximum(1, pixels[:, 2:])], 1)
        if not ((crops[:, 2:] > 0) & (crops[:, :2] + crops[:, 2:] <= sizes)).all():
            raise SoftpackError("INVALID_FILE", "crop outside of the image", f"column crop, epoch {epoch}")
        return crops

    def render(self, epoch, samples, images, mean, std, kernels="auto"):
        """float32 [n, height, width, 3], normalised. `images`: sample id -> uint8 [height, width, 3], for the samples
        and their partners (:meth:`mixes`); anything with `[]`. In a pruned archive `epoch` is the number of a row and
        `samples` are positions in it.
        """
        from .render import render_views

        samples = np.asarray(samples, np.int64)
        if self._parts is not None:
            out = np.empty((len(samples), *self.size, 3), np.float32)
            for views, own, where, local, first in self._divided(epoch, samples):
                out[where] = views.render(own, local, _From(images, first), mean, std, kernels)
            return out
        if self._archive.pruned:
            drawn, ids = self._archive.samples_of_row(epoch)
            if self.seeded:
                epoch, samples = drawn, ids[samples]
            else:
                # Views, and partners in them, are recorded by position: an image may be in a row twice.
                images = _ByPosition(images, ids)
        return render_views(self, epoch, samples, images, mean, std, kernels)


class _From:
    """Images from one on."""

    def __init__(self, images, first):
        self._images, self._first = images, first

    def __getitem__(self, sample):
        return self._images[int(sample) + self._first]


class _ByPosition:
    def __init__(self, images, ids):
        self._images, self._ids = images, ids

    def __getitem__(self, position):
        return self._images[int(self._ids[position])]


def _centre_crop(height, width, ratio):
    own, h, w = width / height, height, width
    if own < ratio[0]:
        h = min(height, max(1, _rounded(width / ratio[0])))
    elif own > ratio[1]:
        w = min(width, max(1, _rounded(height * ratio[1])))
    return (height - h) // 2, (width - w) // 2, h, w
