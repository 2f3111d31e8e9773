"""Students from labels in SRe2L's layout and from the same labels packed, on the same views:

    PYTHONPATH=python python bench/python_students.py RELABEL ARCHIVE TRAIN HELD_OUT SIDE [SEEDS]

RELABEL is what `softpack export --to sre2l` wrote, ARCHIVE what `softpack pack` made of the same archive. The first student
reads its files as SRe2L's script does: torch's sampler of seed 42, crops by coords with PIL, softmax(logits / 20). The second
uses softpack_labels. Both: the same network and optimiser, KL at 20; prints top-1 on HELD_OUT, seconds and bytes per epoch.
"""

import os
import statistics
import sys
import time

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional as F

from softpack_labels.torch import BatchSampler, SoftLabels

relabel, archive_path, train, held_out, side = *sys.argv[1:5], int(sys.argv[5])
seeds = range(int(sys.argv[6]) if len(sys.argv) > 6 else 3)
MEAN, STD, TAU = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 20
torch.set_num_threads(2)


def size_of(folder):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


class Original(torch.utils.data.Dataset):
    """(view, logits) of an epoch, in the order of its files."""

    def __init__(self):
        self.images = ImageFolder(train)
        self.generator = torch.Generator()
        self.generator.manual_seed(42)
        sampler = torch.utils.data.RandomSampler(self.images, generator=self.generator)
        files = len(os.listdir(os.path.join(relabel, "epoch_0")))
        first = torch.load(os.path.join(relabel, "epoch_0", "batch_0.tar"), weights_only=True)
        self.batches = torch.utils.data.BatchSampler(sampler, len(first[1]), drop_last=False)
        assert len(self.batches) == files

    def epoch(self, epoch):
        for b, ids in enumerate(self.batches):
            path = os.path.join(relabel, f"epoch_{epoch}", f"batch_{b}.tar")
            coords, flips, _, _, _, logits = torch.load(path, weights_only=True)
            views = []
            for i, sample in enumerate(ids):
                image = Image.open(self.images.samples[sample][0]).convert("RGB")
                top, left, height, width = (coords[i] * 32).tolist()
                view = F.resized_crop(image, top, left, height, width, [side, side])
                views.append(F.normalize(F.to_tensor(F.hflip(view) if flips[i] else view), MEAN, STD))
            yield torch.stack(views), torch.softmax(logits.float() / TAU, 1)


class Packed:
    def __init__(self):
        data = SoftLabels(archive_path, train, MEAN, STD)
        self.archive, self.sampler = data.archive, BatchSampler(data.archive, 64, seed=42)
        self.loader = torch.utils.data.DataLoader(data, batch_sampler=self.sampler)

    def epoch(self, epoch):
        return iter(self.loader)


def block(inside, outside):
    return [nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]


def network(classes):
    layers = [*block(3, 16), nn.MaxPool2d(2), *block(16, 32), nn.MaxPool2d(2), *block(32, 64)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


def run(make, seed, epochs, classes, held):
    torch.manual_seed(seed)
    student, source, seconds = network(classes), make(), []
    optimiser = torch.optim.AdamW(student.parameters(), lr=0.01, weight_decay=0.05)
    steps = epochs * (len(source.batches) if isinstance(source, Original) else source.sampler.batches_per_epoch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.01, total_steps=steps)
    for epoch in range(epochs):
        reading, start = 0.0, time.perf_counter()
        for views, labels in source.epoch(epoch):
            reading += time.perf_counter() - start
            loss = nn.functional.kl_div(torch.log_softmax(student(views) / TAU, 1), labels, reduction="batchmean") * TAU**2
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            start = time.perf_counter()
        seconds.append(reading)
    student.eval()
    with torch.no_grad():
        hits = [(student(x).argmax(1) == y).float() for x, y in held]
    return 100 * torch.cat(hits).mean().item(), statistics.median(seconds)


probe = Packed()
epochs, classes = probe.archive.epochs, probe.archive.classes
images = ImageFolder(held_out)
whole = [(F.normalize(F.to_tensor(F.resize(image, [side, side])), MEAN, STD), y) for image, y in images]
held = [(torch.stack([x for x, _ in whole[i : i + 256]]), torch.tensor([y for _, y in whole[i : i + 256]])) for i in range(0, len(whole), 256)]
for name, make, folder in (("SRe2L's files", Original, relabel), ("softpack", Packed, archive_path)):
    results = [run(make, seed, epochs, classes, held) for seed in seeds]
    top = [accuracy for accuracy, _ in results]
    spread = f"{min(top):.1f} to {max(top):.1f}"
    print(f"{name:14} top-1 {statistics.mean(top):.1f} % ({spread}), reading {statistics.median(s for _, s in results):.2f} s per epoch,", end=" ")
    print(f"{size_of(folder) / epochs / 1e3:.1f} kB per epoch ({size_of(folder) / 1e6:.2f} MB)", flush=True)
