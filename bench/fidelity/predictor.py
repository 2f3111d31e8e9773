"""Predicts latents of labels from what their views show, for bench/fidelity.mjs --predictor:

    python predictor.py DIR SAMPLES EPOCHS LEARNT SIDE COMPONENTS

An image has an embedding of 4 cells, its quarters. The cells are added up by the area of them that the view shows, of its own
image and of the one mixed in; both sums, gated by the geometry of the crops, and that geometry go through a small network. Embeddings
and network are learnt together from the first LEARNT epochs, quantised, and counted at their entropy.
Reads DIR/latents.f32 [EPOCHS, SAMPLES, COMPONENTS] and DIR/views.f32; writes DIR/predictions.f32 and DIR/predictor.json.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

CELLS, NUMBERS, HIDDEN = 2, 32, 256
PASSES, BATCH, RATE = 24, 512, 3e-3
EMBEDDING_STEP = 0.5
"""Embeddings are rounded to multiples of this; their deviation is of the order of 1."""
WEIGHT_STEP = 1 / 8
"""Step of a tensor of the network, in deviations of its entries."""
FIELDS = 11
"""Per view: crop (top, left, height, width), flip, partner, own share, box (top, left, height, width)."""


def shown_shares(crop, flip, box, inside, side):
    """[views, cells]: shares of the view that show each quarter of the image, inside the pasted box or outside."""
    top, left, height, width = crop.T
    box_top, box_left, box_height, box_width = box.T
    cell = side / CELLS
    shares = []
    for row in range(CELLS):
        for column in range(CELLS):
            y0, y1 = (np.clip((edge * cell - top) / height, 0, 1) * side for edge in (row, row + 1))
            x0, x1 = (np.clip((edge * cell - left) / width, 0, 1) * side for edge in (column, column + 1))
            x0, x1 = np.where(flip > 0, side - x1, x0), np.where(flip > 0, side - x0, x1)
            common_height = np.clip(np.minimum(y1, box_top + box_height) - np.maximum(y0, box_top), 0, None)
            common_width = np.clip(np.minimum(x1, box_left + box_width) - np.maximum(x0, box_left), 0, None)
            common = common_height * common_width
            shares.append((common if inside else (y1 - y0) * (x1 - x0) - common) / side**2)
    return np.stack(shares, 1)


def geometry(crop, flip, side):
    top, left, height, width = crop.T
    centre = [(top + height / 2) / side - 0.5, (left + width / 2) / side - 0.5]
    return np.stack([*centre, np.log(height / side), np.log(width / side), flip - 0.5], 1)


class Predictor(torch.nn.Module):
    def __init__(self, samples, features, components):
        super().__init__()
        self.embedding = torch.nn.Parameter(torch.randn(samples, CELLS**2, NUMBERS) / 2)
        self.linear = torch.nn.Linear(NUMBERS, components, bias=False)
        self.inner = torch.nn.Linear(3 * NUMBERS + features, HIDDEN)
        self.outer = torch.nn.Linear(HIDDEN, components)
        self.gate_inner = torch.nn.Linear(features, 64)
        self.gate_outer = torch.nn.Linear(64, 2 * NUMBERS)
        torch.nn.init.zeros_(self.gate_outer.weight)
        torch.nn.init.zeros_(self.gate_outer.bias)

    def forward(self, sample, partner, own, other, features):
        embedding = self.embedding
        if self.training:
            embedding = embedding + (torch.rand_like(embedding) - 0.5) * EMBEDDING_STEP
        gates = 1 + self.gate_outer(torch.nn.functional.gelu(self.gate_inner(features)))
        first = (embedding[sample] * own[:, :, None]).sum(1) * gates[:, :NUMBERS]
        second = (embedding[partner] * other[:, :, None]).sum(1) * gates[:, NUMBERS:]
        joined = torch.cat([first, second, first + second, features], 1)
        return self.linear(first + second) + self.outer(torch.nn.functional.gelu(self.inner(joined)))


def train(model, inputs, latents, learnt, samples):
    known = learnt * samples
    embedding = {"params": [model.embedding], "lr": 4 * RATE, "weight_decay": 0.02}
    network = [parameter for name, parameter in model.named_parameters() if name != "embedding"]
    optimiser = torch.optim.AdamW([embedding, {"params": network, "lr": RATE, "weight_decay": 0.01}])
    per_pass = known // BATCH
    rates = [4 * RATE, RATE]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=PASSES * per_pass)
    squares = latents[:known].square().mean(0)
    # Bits of a component are the logarithm of its error above the quantiser's own.
    floor = 0.025 * squares.sum() / len(squares)
    for _ in range(PASSES):
        order = torch.randperm(known)
        for step in range(per_pass):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            error = (latents[chosen] - model(*(values[chosen] for values in inputs))).square().mean(0)
            squares = 0.98 * squares + 0.02 * error.detach()
            optimiser.zero_grad()
            (error / (squares + floor)).sum().backward()
            optimiser.step()
            schedule.step()


def entropy_bytes(values):
    counts = np.unique(values, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum() * values.size / 8)


def quantise(model):
    """Rounds everything to what a decoder would be given; bytes of the embeddings and of the network."""
    with torch.no_grad():
        indices = torch.round(model.embedding / EMBEDDING_STEP)
        model.embedding.copy_(indices * EMBEDDING_STEP)
        columns = indices.numpy().reshape(len(indices), -1).T
        embedding = sum(entropy_bytes(column) for column in columns)
        network = 0
        for name, parameter in model.named_parameters():
            if name == "embedding":
                continue
            step = float(parameter.std()) * WEIGHT_STEP
            indices = torch.round(parameter / step)
            parameter.copy_(indices * step)
            network += entropy_bytes(indices.numpy())
    return {"embedding": round(embedding), "network": round(network)}


def main():
    folder = Path(sys.argv[1])
    samples, epochs, learnt, side, components = map(int, sys.argv[2:])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    count = epochs * samples
    latents = np.fromfile(folder / "latents.f32", np.float32).reshape(count, components)
    views = np.fromfile(folder / "views.f32", np.float32).reshape(count, FIELDS)
    crop, flip, box = views[:, :4], views[:, 4], views[:, 7:]
    partner = views[:, 5].astype(np.int64)
    sample = np.tile(np.arange(samples), epochs)
    shown = np.repeat(np.arange(epochs) * samples, samples) + partner
    own = shown_shares(crop, flip, box, False, side)
    other = shown_shares(crop[shown], flip[shown], box, True, side)
    crops = [geometry(crop, flip, side), geometry(crop[shown], flip[shown], side)]
    features = np.concatenate([own, other, *crops, box / side - 0.25, views[:, 6:7]], 1)
    inputs = [torch.from_numpy(values) for values in (sample, partner)]
    inputs += [torch.from_numpy(values.astype(np.float32)) for values in (own, other, features)]
    model = Predictor(samples, features.shape[1], components)
    train(model, inputs, torch.from_numpy(latents), learnt, samples)
    sizes = quantise(model.eval())
    with torch.no_grad():
        pieces = [model(*(values[i : i + 4096] for values in inputs)) for i in range(0, count, 4096)]
    torch.cat(pieces).numpy().astype(np.float32).tofile(folder / "predictions.f32")
    (folder / "predictor.json").write_text(json.dumps(sizes))


main()
