"""Students from labels in SRe2L's layout and from the same labels packed, on the same views:

    PYTHONPATH=python python bench/sre2l/students.py FOLDER SEEDS

FOLDER/relabel are the original files, FOLDER/packed is what `softpack import` and `softpack pack` made of them. The first
student reads as SRe2L's script does: torch's sampler of seed 42, torch.load of a batch, crops by coords with PIL, flips,
CutMix by mix_index and mix_bbox, softmax(logits / 20). The second uses softpack_labels, with the same image files and with
packed images (FOLDER/packed-images). The same network, optimiser and
loss, one thread; each line is JSON: top-1 on FOLDER/held-out, and seconds of the processor per epoch, in all and for
reading: what else the machine does matters less than by the clock.
"""

import json
import os
import statistics
import sys
import time

import torch
from torch import nn
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional as F

from network import MEAN, SIDE, STD, normalised, student
from softpack_labels.torch import BatchSampler, SoftLabels

folder, seeds = sys.argv[1], int(sys.argv[2])
TAU, BATCH, RATE, WARMUP = 20, 64, 0.02, 50
torch.set_num_threads(1)


class Original:
    """(views, soft labels) of an epoch, in the order of its files."""

    def __init__(self):
        self.images = ImageFolder(os.path.join(folder, "images"))
        generator = torch.Generator()
        generator.manual_seed(42)
        sampler = torch.utils.data.RandomSampler(self.images, generator=generator)
        self.batches = torch.utils.data.BatchSampler(sampler, BATCH, drop_last=False)
        self.kernels = None

    def epoch(self, epoch):
        for b, ids in enumerate(self.batches):
            path = os.path.join(folder, "relabel", f"epoch_{epoch}", f"batch_{b}.tar")
            # Boxes are numpy integers, which weights_only refuses.
            coords, flips, index, _, box, logits = torch.load(path, weights_only=False)
            views = []
            for i, sample in enumerate(ids):
                image = Image(self.images.samples[sample][0])
                height, width = image.height, image.width
                top, left, h, w = (coords[i] * torch.tensor([height, width, height, width])).round().int().tolist()
                view = F.resized_crop(image, top, left, h, w, [SIDE, SIDE])
                views.append(normalised(F.hflip(view) if flips[i] else view))
            views = torch.stack(views)
            mixed = views.clone()
            mixed[:, :, box[0] : box[2], box[1] : box[3]] = views[index, :, box[0] : box[2], box[1] : box[3]]
            yield mixed, torch.softmax(logits.float() / TAU, 1)


def Image(path):
    from torchvision.datasets.folder import pil_loader

    return pil_loader(path)


class Packed:
    def __init__(self, images):
        data = SoftLabels(os.path.join(folder, "packed"), os.path.join(folder, images), MEAN, STD)
        self.kernels = data.archive.kernels
        self.batches = BatchSampler(data.archive, BATCH, seed=42)
        self.loader = torch.utils.data.DataLoader(data, batch_sampler=self.batches)

    def epoch(self, epoch):
        return iter(self.loader)


def train(source, seed, epochs, classes):
    torch.manual_seed(seed)
    model, seconds, reading = student(classes), [], []
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    steps = epochs * len(source.batches)
    warmup = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / WARMUP, total_iters=WARMUP)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps - WARMUP)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimiser, [warmup, cosine], [WARMUP])
    for epoch in range(epochs):
        begin, waited = time.process_time(), 0.0
        start = begin
        for views, labels in source.epoch(epoch):
            waited += time.process_time() - start
            predicted = torch.log_softmax(model(views) / TAU, 1)
            loss = nn.functional.kl_div(predicted, labels, reduction="batchmean") * TAU**2
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            start = time.process_time()
        seconds.append(time.process_time() - begin)
        reading.append(waited)
    model.eval()
    return model, statistics.median(seconds), statistics.median(reading)


epochs = len(os.listdir(os.path.join(folder, "relabel")))
held = ImageFolder(os.path.join(folder, "held-out"))
classes = len(held.classes)
views = torch.stack([normalised(F.resize(image.convert("RGB"), [SIDE, SIDE])) for image, _ in held])
targets = torch.tensor(held.targets)
for seed in range(seeds):
    kinds = (
        ("original files", Original()),
        ("softpack", Packed("images")),
        ("softpack, packed images", Packed("packed-images")),
    )
    for name, source in kinds:
        model, seconds, reading = train(source, seed, epochs, classes)
        with torch.no_grad():
            top1 = 100 * (model(views).argmax(1) == targets).float().mean().item()
        row = {"student": name, "seed": seed, "top1": top1, "epoch": seconds, "reading": reading, "kernels": source.kernels}
        print(json.dumps(row), flush=True)
