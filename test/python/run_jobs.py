"""Runs the jobs of a JSON list from stdin with softpack_labels, and prints a JSON list of what they gave."""

import base64
import json
import sys

import numpy as np

import softpack_labels
from softpack_labels import xxh64
from softpack_labels.order import BatchSampler
from softpack_labels.views import Views


def text(array):
    return base64.b64encode(np.ascontiguousarray(array, np.float32).tobytes()).decode()


def images_of(job):
    count, height, width = job["shape"]
    return np.fromfile(job["images"], np.uint8).reshape(count, height, width, 3)


def run(job):
    kind = job["kind"]
    if kind == "hashes":
        xxh64.xxhash = None
        data = np.frombuffer(base64.b64decode(job["data"]), np.uint8)
        return {"hashes": [str(h) for h in xxh64.xxh64_blocks(data, job["size"])]}
    archive = softpack_labels.open(job["archive"], kernels=job.get("kernels", "numpy"))
    facts = {"id": archive.id, "classes": archive.classes, "epochs": archive.epochs, "kernels": archive.kernels}
    if kind == "labels":
        labels = [text(archive.labels(epoch, job.get("samples"))) for epoch in job["epochs"]]
        rows = [archive.labels_of_row(row) for row in range(archive.epochs)] if archive.pruned else []
        return {**facts, "labels": labels, "rows": [[epoch, ids.tolist()] for epoch, ids, _ in rows]}
    if kind == "views":
        kernels = job.get("kernels", "numpy")
        views = Views(archive)
        rendered = [
            views.render(epoch, job["samples"], images_of(job), job["mean"], job["std"], kernels)
            for epoch in job["epochs"]
        ]
        return {**facts, "views": [text(view) for view in rendered]}
    if kind == "order":
        sampler = BatchSampler(archive, **job["options"])
        batches = [[[int(e), s] for e, s in batch] for _ in range(job["iterations"]) for batch in sampler]
        return {**facts, "batches": batches, "state": sampler.state(job["epoch"], job["batches"])}
    if kind == "dataset":
        import torch

        from softpack_labels.torch import SoftLabels

        data = SoftLabels(archive, images_of(job), job["mean"], job["std"])
        sampler = BatchSampler(archive, **job["options"])
        loader = torch.utils.data.DataLoader(data, batch_sampler=sampler, num_workers=job["workers"])
        batches = list(loader)
        return {**facts, "xs": [text(x.permute(0, 2, 3, 1)) for x, _ in batches], "ys": [text(y) for _, y in batches]}
    return facts


def guarded(job):
    try:
        return run(job)
    except softpack_labels.SoftpackError as error:
        return {"code": error.code, "field": error.field, "found": str(error.found)}


print(json.dumps([guarded(job) for job in json.load(sys.stdin)]))
