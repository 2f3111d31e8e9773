"""What the codec `predictive` predicts of labels, from embeddings of their images and what their views show."""

import numpy as np

from .rans import read_matrix

# Images count as squares of this side; an image has 2 x 2 cells of 32 numbers; layers see multiples of 1 / 128.
SIDE, CELLS, NUMBERS, HIDDEN, VIEW_NUMBERS, ONE = 1024, 4, 32, 256, 23, 128
MOST, MOST_HIDDEN, EXACT = 31, 2047, 1 << 24


def view_numbers(views, epoch, samples, partners, box, share):
    """int64 [n, 23]: what views of an epoch show, in 64ths. `samples`, `partners`: as `views` counts them."""
    sizes = np.full((len(samples), 2), SIDE)
    places = [(views.crops(epoch, ids, sizes), views.flips(epoch, ids)) for ids in (samples, partners)]
    crops = [_shares(crop, SIDE, SIDE) for crop, _ in places]
    box, share = _shares(box, *views.size), np.asarray(share, np.float32).astype(np.float64)
    cut = (box[:, 2] > 0) & (box[:, 3] > 0)
    whole = np.broadcast_to(np.array([0.0, 0, 1, 1]), box.shape)
    columns = []
    for image, (crop, (_, flip)) in enumerate(zip(crops, places)):
        for cell in range(CELLS):
            inside, all_of_it = (_shown(crop, flip, cell, part) for part in (box, whole))
            weight = share if image == 0 else 1 - share
            columns.append(np.where(cut, all_of_it - inside if image == 0 else inside, weight * all_of_it))
    for crop, (_, flip) in zip(crops, places):
        top, left, height, width = crop.T
        columns += [top + height / 2 - 0.5, left + width / 2 - 0.5, height, width, flip - 0.5]
    return np.floor(np.stack([*columns, *box.T, share], 1) * 64 + 0.5).astype(np.int64)


def _shares(rectangles, height, width):
    return (rectangles / np.array([height, width, height, width], np.float64)).astype(np.float32).astype(np.float64)


def _shown(crop, flip, cell, part):
    """Share of the view that shows a cell of the image inside of a part of the view."""
    top, left, height, width = crop.T
    row, column = divmod(cell, 2)
    y0, y1 = (np.clip((edge / 2 - top) / height, 0, 1) for edge in (row, row + 1))
    x0, x1 = (np.clip((edge / 2 - left) / width, 0, 1) for edge in (column, column + 1))
    x0, x1 = np.where(flip, 1 - x1, x0), np.where(flip, 1 - x0, x1)
    rows = np.minimum(y1, part[:, 0] + part[:, 2]) - np.maximum(y0, part[:, 0])
    columns = np.minimum(x1, part[:, 1] + part[:, 3]) - np.maximum(x0, part[:, 1])
    return np.maximum(rows, 0) * np.maximum(columns, 0)


class Network:
    """Predictions as whole numbers: float64 adds them exactly."""

    def __init__(self, config, components, tensors):
        names = ("embeddings", "innerBits", "outerBits")
        self.samples, self._inner_bits, self._outer_bits = (config[name] for name in names)
        whole = all(isinstance(config[name], int) for name in names)
        if not whole or self.samples < 1 or not 0 <= self._inner_bits <= 24 or not 0 <= self._outer_bits <= 24:
            raise ValueError("network")
        numbers = read_matrix(tensors["embeddings"], CELLS * NUMBERS, self.samples)
        self._embeddings = np.ascontiguousarray(numbers.T).reshape(self.samples, CELLS, NUMBERS).astype(np.float64)
        inputs, outer_inputs = 2 * NUMBERS + VIEW_NUMBERS + 1, HIDDEN + NUMBERS + 1
        self._inner = read_matrix(tensors["inner"], inputs, HIDDEN).astype(np.float64)
        self._outer = read_matrix(tensors["outer"], components, outer_inputs).astype(np.float64)
        self._scales = np.asarray(tensors["scales"]).astype(np.float32)
        if self._scales.shape != (components,) or not np.isfinite(self._scales).all() or np.signbit(self._scales).any():
            raise ValueError("scales")
        most_sum = (64 + CELLS // 2) * MOST
        inner_most = np.repeat([most_sum, ONE + 2], [2 * NUMBERS, VIEW_NUMBERS + 1])
        outer_most = np.repeat([MOST_HIDDEN, 2 * most_sum, ONE], [HIDDEN, NUMBERS, 1])
        exact = (inner_most @ np.abs(self._inner) < EXACT).all() and (np.abs(self._outer) @ outer_most < EXACT).all()
        if np.abs(numbers).max() > MOST or not exact:
            raise ValueError("sums that are not exact")

    def __call__(self, sample, partner, numbers):
        """float32 [labels, components]."""
        shares = numbers.astype(np.float64)
        first = np.einsum("nc,nck->nk", shares[:, :CELLS], self._embeddings[sample])
        second = np.einsum("nc,nck->nk", shares[:, CELLS : 2 * CELLS], self._embeddings[partner])
        one = np.full((len(shares), 1), float(ONE))
        seen = np.concatenate([first, second, 2 * shares, one], 1)
        hidden = np.clip(np.floor(seen @ self._inner / 2.0**self._inner_bits + 0.5), 0, MOST_HIDDEN)
        found = np.concatenate([hidden, first + second, one], 1) @ self._outer.T
        scales = self._scales * np.float32(2.0**-self._outer_bits / ONE)
        return found.astype(np.float32) * scales
