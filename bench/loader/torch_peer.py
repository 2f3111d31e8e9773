"""Images a second of a PyTorch DataLoader on labels in SRe2L's layout: one file a batch and epoch, which holds
[coords, flip, mix_index, mix_lam, mix_bbox, logits.half()], read in the training process; images from a folder.

Usage: torch_peer.py <folder> <work> <samples> <classes> <batch> <size> <seconds> <workers,...>
<work> holds labels.f16 [samples, classes], coords.f32 [samples, 4] and flip.u8 [samples]. Prints one JSON line.
"""
import json
import os
import sys
import time

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional as F

folder, work = sys.argv[1:3]
samples, classes, batch, size = map(int, sys.argv[3:7])
seconds = float(sys.argv[7])
worker_counts = [int(text) for text in sys.argv[8].split(",")]
torch.set_num_threads(1)

names = sorted(os.listdir(os.path.join(folder, "class")))
labels = np.fromfile(os.path.join(work, "labels.f16"), np.float16).reshape(samples, classes)
coords = np.fromfile(os.path.join(work, "coords.f32"), np.float32).reshape(samples, 4)
flips = np.fromfile(os.path.join(work, "flip.u8"), np.uint8)
order = np.random.default_rng(0).permutation(samples)
batches = [order[i : i + batch] for i in range(0, samples, batch)]
for index, ids in enumerate(batches):
    entry = [torch.tensor(coords[ids]), torch.tensor(flips[ids]).bool(), None, None, None]
    torch.save(entry + [torch.tensor(labels[ids])], os.path.join(work, f"batch_{index}.tar"))


class Photographs(Dataset):
    """An item is (sample id, coords, flip)."""

    def __getitem__(self, item):
        sample, (top, left, height, width), flip = item
        with Image.open(os.path.join(folder, "class", names[sample])) as file:
            image = file.convert("RGB")
        w, h = image.size
        box = [round(top * h), round(left * w), max(1, round(height * h)), max(1, round(width * w))]
        image = F.resized_crop(image, *box, [size, size])
        if flip:
            image = F.hflip(image)
        return F.normalize(F.to_tensor(image), [0.5] * 3, [0.5] * 3)

    def __len__(self):
        return samples


class BatchItems:
    """Batch sampler: each batch's file is read where the batches are made up."""

    def __init__(self):
        self.labels = []

    def __iter__(self):
        for index, ids in enumerate(batches):
            entry = torch.load(os.path.join(work, f"batch_{index}.tar"), weights_only=True)
            self.labels.append(entry[5])
            yield [(int(s), c, bool(f)) for s, c, f in zip(ids, entry[0].tolist(), entry[1])]

    def __len__(self):
        return len(batches)


def cpu_seconds():
    """Of this process and its workers, which are still running."""
    ticks = 0
    for pid in [os.getpid(), *(p.pid for p in torch.multiprocessing.active_children())]:
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


runs = []
for workers in worker_counts:
    sampler = BatchItems()
    loader = DataLoader(
        Photographs(), batch_sampler=sampler, num_workers=workers, persistent_workers=workers > 0
    )
    done, start, warm = 0, None, 0
    while start is None or time.perf_counter() - start < seconds:
        for images in loader:
            y = torch.softmax(sampler.labels.pop(0).float() / 20, 1)
            assert y.shape[0] == images.shape[0]
            if start is None:
                warm += 1
                if warm > 2 * workers:
                    start, cpu = time.perf_counter(), cpu_seconds()
                continue
            done += images.shape[0]
            if time.perf_counter() - start >= seconds:
                break
        sampler.labels.clear()
    speeds = {
        "imagesPerSecond": done / (time.perf_counter() - start),
        "imagesPerCpuSecond": done / (cpu_seconds() - cpu),
    }
    runs.append({"workers": workers, **speeds})
    del loader
print(json.dumps({"torch": torch.__version__, "runs": runs}))
