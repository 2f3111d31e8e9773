"""Labels in SRe2L's layout, made by PyTorch alone:

    python bench/sre2l/labels.py FOLDER EPOCHS SEED

FOLDER/teacher holds the teacher's images, FOLDER/images those that are labelled, one folder per class. Trains a small
residual network and writes FOLDER/relabel/epoch_{e}/batch_{b}.tar: what generate_soft_label.py of SRe2L writes, six items
with half-float logits, in the order of torch's RandomSampler of seed 42, crops by PIL, CutMix on every batch.
"""

import os
import sys
import time

import numpy as np
import torch
from torch import nn
from torchvision.datasets import ImageFolder
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as F

from network import SIDE, Residual, block, normalised

folder, epochs, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
BATCH, SCALE, RATIO = 64, (0.5, 1), (3 / 4, 4 / 3)
TEACHER_EPOCHS, TEACHER_BATCH, TEACHER_RATE = 24, 128, 0.004
torch.set_num_threads(1)
torch.manual_seed(seed)
np.random.seed(seed)


def teacher(classes):
    layers, before = [], 3
    for width in (32, 64, 128):
        layers += [*block(before, width, 4, 2), Residual(width)]
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes))


def draw(image, scale):
    top, left, height, width = RandomResizedCrop.get_params(image, scale, RATIO)
    coords = (top / image.height, left / image.width, height / image.height, width / image.width)
    view, flip = F.resized_crop(image, top, left, height, width, [SIDE, SIDE]), torch.rand(()) < 0.5
    return normalised(F.hflip(view) if flip else view), coords, flip


def cutmix(views):
    """As in SRe2L: one box and one partner per sample for the whole batch."""
    lam, index = np.random.beta(1, 1), torch.randperm(len(views))
    cut = np.sqrt(1 - lam)
    half = int(SIDE * cut) // 2
    x, y = np.random.randint(SIDE, size=2)
    box = [np.clip(at, 0, SIDE) for at in (x - half, y - half, x + half, y + half)]
    mixed = views.clone()
    mixed[:, :, box[0] : box[2], box[1] : box[3]] = views[index, :, box[0] : box[2], box[1] : box[3]]
    return mixed, index, lam, box


def train(model, images):
    optimiser = torch.optim.AdamW(model.parameters(), lr=TEACHER_RATE, weight_decay=0.05)
    batches = -(-len(images) // TEACHER_BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, TEACHER_RATE, total_steps=TEACHER_EPOCHS * batches)
    for _ in range(TEACHER_EPOCHS):
        for ids in torch.randperm(len(images)).split(TEACHER_BATCH):
            views = torch.stack([draw(images[i][0], (0.4, 1))[0] for i in ids.tolist()])
            views = views * (1 + 0.3 * (2 * torch.rand(len(ids), 3, 1, 1) - 1)) + 0.6 * (2 * torch.rand(len(ids), 1, 1, 1) - 1)
            targets = torch.tensor([images.targets[i] for i in ids.tolist()])
            mixed, index, _, box = cutmix(views)
            share = 1 - (box[2] - box[0]) * (box[3] - box[1]) / SIDE**2
            if torch.rand(()) < 0.5:
                mixed, share = views, 1
            found = model(mixed)
            loss = share * nn.functional.cross_entropy(found, targets)
            loss = loss + (1 - share) * nn.functional.cross_entropy(found, targets[index])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()


start = time.perf_counter()
known = ImageFolder(os.path.join(folder, "teacher"))
known.samples = [(image.convert("RGB"), target) for image, target in known]
known.loader = lambda image: image
model = teacher(len(known.classes))
train(model, known)
model.eval()
seconds = time.perf_counter() - start
held = ImageFolder(os.path.join(folder, "held-out"))
with torch.no_grad():
    views = torch.stack([normalised(F.resize(image.convert("RGB"), [SIDE, SIDE])) for image, _ in held])
    top1 = (model(views).argmax(1) == torch.tensor(held.targets)).float().mean()
print(f"teacher trained in {seconds:.0f} s: {100 * top1:.1f} % of held-out images", flush=True)
images = ImageFolder(os.path.join(folder, "images"))
generator = torch.Generator()
generator.manual_seed(42)
sampler = torch.utils.data.RandomSampler(images, generator=generator)
with torch.no_grad():
    for epoch in range(epochs):
        out = os.path.join(folder, "relabel", f"epoch_{epoch}")
        os.makedirs(out)
        for b, ids in enumerate(torch.utils.data.BatchSampler(sampler, BATCH, drop_last=False)):
            views, coords, flips = zip(*[draw(images[i][0], SCALE) for i in ids])
            mixed, index, lam, box = cutmix(torch.stack(views))
            state = [torch.tensor(coords), torch.tensor(flips), index, lam, box, model(mixed).half()]
            torch.save(state, os.path.join(out, f"batch_{b}.tar"))
