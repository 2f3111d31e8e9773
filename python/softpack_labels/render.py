"""Rendering of views: the arithmetic of softpack's kernel, so that the pixels have equal bytes."""

import math

import numpy as np

from .errors import SoftpackError


def render_views(views, epoch, samples, images, mean, std, kernels):
    partner, box, weight = views.mixes(epoch, samples)
    mixed = (partner != samples) | (weight < 1) | (box[:, 2] > 0)
    shown = np.concatenate([samples, partner[mixed]])
    pixels = {int(s): _checked(images[int(s)], int(s)) for s in np.unique(shown)}
    sizes = np.array([pixels[int(s)].shape[:2] for s in shown], np.int64).reshape(-1, 2)
    crops, flips = views.crops(epoch, shown, sizes), views.flips(epoch, shown)
    others = np.full(len(samples), -1)
    others[mixed] = len(samples) + np.arange(mixed.sum())
    plan = Plan(views, shown, pixels, crops, flips, others, box, weight, mean, std)
    if kernels != "numpy":
        from .native import native_render

        rendered = native_render(plan, required=kernels == "native")
        if rendered is not None:
            return rendered
    out = np.empty((len(samples), *views.size, 3), np.float32)
    for i in range(len(samples)):
        _render(plan, i, out[i])
    return out


class Plan:
    """Views to render: image, crop and flip of each and of what is mixed in."""

    def __init__(self, views, shown, pixels, crops, flips, others, box, weight, mean, std):
        self.size, self.antialias, self.round = views.size, views.antialias, views.round
        self.shown, self.pixels, self.crops, self.flips = shown, pixels, crops, flips
        self.others, self.box, self.weight = others, box, weight
        mean, std = np.asarray(mean, np.float64).reshape(3), np.asarray(std, np.float64).reshape(3)
        with np.errstate(divide="ignore"):
            # Of 8.16 fixed point.
            self.scale = (1 / (255 * 65536 * std)).astype(np.float32)
            self.shift = (-mean / std).astype(np.float32)
        if not (np.isfinite(self.scale).all() and np.isfinite(self.shift).all()):
            raise SoftpackError("INVALID_ARGUMENT", "out of range", "std", "deviations above 0", std.tolist())


def _checked(image, sample):
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        found = f"{image.dtype} {list(image.shape)}"
        raise SoftpackError("INVALID_ARGUMENT", "not an image", f"images[{sample}]", "uint8 [height, width, 3]", found)
    return np.ascontiguousarray(image)


def _render(plan, i, out):
    height, width = plan.size
    _render_part(plan, i, (0, 0, height, width), out)
    other = plan.others[i]
    if other < 0:
        return
    if plan.box[i][2] > 0:
        top, left, rows, columns = map(int, plan.box[i])
        _render_part(plan, other, (top, left, rows, columns), out[top : top + rows, left : left + columns])
        return
    blended = np.empty_like(out)
    _render_part(plan, other, (0, 0, height, width), blended)
    own = np.float32(plan.weight[i])
    np.add(out * own, blended * np.float32(1 - own), out=out)


def _render_part(plan, part, box, out):
    top, left, height, width = map(int, plan.crops[part])
    crop = plan.pixels[int(plan.shown[part])][top : top + height, left : left + width]
    rows = np.arange(box[0], box[0] + box[2])
    columns = np.arange(box[1], box[1] + box[3])
    if plan.flips[part]:
        columns = plan.size[1] - 1 - columns
    if plan.round:
        values = _fixed(crop, rows, columns, plan)
    elif plan.antialias:
        values = _floats(crop, rows, columns, plan)
    else:
        out[:] = _bilinear(crop, rows, columns, plan).astype(np.float32) * plan.scale + plan.shift
        return
    out[:] = values * (plan.scale * np.float32(65536)) + plan.shift


def _bilinear(crop, rows, columns, plan):
    """8.16 fixed point from weights of 11 bits."""
    y0, y1, wy = _two_taps(rows, plan.size[0], crop.shape[0])
    x0, x1, wx = _two_taps(columns, plan.size[1], crop.shape[1])
    wx, wy = wx[None, :, None], wy[:, None, None]

    def across(at):
        row = crop[at].astype(np.int32)
        return row[:, x0] * (2048 - wx) + row[:, x1] * wx

    return (across(y0) * (2048 - wy) + across(y1) * wy + 32) >> 6


def _two_taps(positions, size, length):
    numerator = (2 * positions + 1) * length - size
    index = numerator // (2 * size)
    rest = numerator - index * 2 * size
    weight = (rest * 2048 + size) // (2 * size)
    return np.maximum(index, 0), np.minimum(index + 1, length - 1), weight.astype(np.int32)


def _taps(positions, size, length, antialias):
    """First source pixel of each position and float64 weights [positions, most taps], padded with zeros."""
    support = max(1.0, length / size) if antialias else 1.0
    centre = (positions + 0.5) * (length / size)
    first = np.maximum(0.0, centre - support + 0.5).astype(np.int64)
    end = np.minimum(length, (centre + support + 0.5).astype(np.int64))
    taps = np.arange(min(length, math.ceil(support) * 2 + 1))
    distance = np.abs((taps + first[:, None] - centre[:, None] + 0.5) * (1.0 / support))
    weights = np.where((distance < 1) & (taps < (end - first)[:, None]), 1 - distance, 0.0)
    total = np.zeros(len(positions))
    for k in range(weights.shape[1]):
        total += weights[:, k]
    return first, weights / total[:, None]


def _fixed(crop, rows, columns, plan):
    """8 bits after each axis; sums of integers below 2^53 are exact in float64 whatever their order."""

    def resized(image, positions, size):
        first, weights = _taps(positions, size, image.shape[1], plan.antialias)
        matrix = np.zeros((len(positions), image.shape[1]))
        fixed = np.floor(0.5 + weights * 4194304.0)
        for k in range(weights.shape[1]):
            at = np.minimum(first + k, image.shape[1] - 1)
            matrix[np.arange(len(positions)), at] += fixed[:, k]
        sums = np.tensordot(matrix, image.astype(np.float64), (1, 1))
        return np.minimum(255.0, np.floor((sums + 2097152.0) / 4194304.0))

    across = resized(crop, columns, plan.size[1])  # [columns, rows of the crop, 3]
    return resized(across, rows, plan.size[0]).astype(np.float32)


def _floats(crop, rows, columns, plan):
    """float32 products and sums in the order of the taps."""

    def resized(image, positions, size):
        first, weights = _taps(positions, size, image.shape[0], True)
        weights = weights.astype(np.float32)
        total = np.zeros((len(positions), *image.shape[1:]), np.float32)
        for k in range(weights.shape[1]):
            source = image[np.minimum(first + k, image.shape[0] - 1)]
            total += source * weights[:, k].reshape(-1, *[1] * (image.ndim - 1))
        return total

    across = resized(crop.transpose(1, 0, 2).astype(np.float32), columns, plan.size[1])
    return resized(across.transpose(1, 0, 2), rows, plan.size[0])
