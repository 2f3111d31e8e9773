"""Run by python.mjs."""

import os
import statistics
import sys
import time

import numpy as np
import plain

import softpack_labels

folder = sys.argv[1]
path = os.path.join(folder, "archive")
rng = np.random.default_rng(0)
batches = [rng.integers(0, 4096, 64) for _ in range(20)]


def report(name, run, labels):
    run()
    rates = []
    for _ in range(7):
        # Of one thread: what else the machine does matters less than by the clock.
        start = time.process_time()
        run()
        rates.append(labels / (time.process_time() - start))
    print(f"{name:48} {statistics.median(rates):10.0f} labels/s ({min(rates):.0f} to {max(rates):.0f})", flush=True)


for kernels in ("native", "numpy"):
    archive = softpack_labels.open(path, kernels=kernels)
    report(f"softpack-labels, {kernels}, batches of 64", lambda: [archive.labels(0, ids) for ids in batches], 1280)
    report(f"softpack-labels, {kernels}, whole epoch", lambda: archive.labels(0), 4096)

archive = softpack_labels.open(path, kernels="numpy")
config = archive.manifest["codec"]["config"]
tensors = softpack_labels.archive.read_tensors(path, archive.manifest["codecFile"], True)
shard = archive._shard(0)
begin, row_bytes = archive._column(shard, "codes", 0)
row = np.array(shard.read(begin, row_bytes))
report("plain NumPy (docs/codecs.md), whole epoch", lambda: plain.decode("vqae", row, 4096, config, tensors), 4096)

try:
    import torch
except ImportError:
    print("no torch: its loader was not measured")
else:
    torch.set_num_threads(1)
    files = [os.path.join(folder, f"batch_{b}.tar") for b in range(20)]

    def load():
        for file in files:
            torch.softmax(torch.load(file, weights_only=True)[5].float() / 20, 1)

    report("torch.load and softmax of SRe2L's files", load, 1280)
