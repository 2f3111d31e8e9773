"""Runs the jobs of a JSON list from stdin with softpack_labels, and prints a JSON list of what they gave."""

import base64
import hashlib
import json
import os
import pickle
import random
import shutil
import sys
import tempfile

import numpy as np

import softpack_labels
from softpack_labels import manifest, packed, xxh64
from softpack_labels.codecs import Codes
from softpack_labels.images import open_images
from softpack_labels.order import BatchSampler, PrunedSampler
from softpack_labels.views import Views


def text(array):
    return base64.b64encode(np.ascontiguousarray(array, np.float32).tobytes()).decode()


def images_of(job):
    count, height, width = job["shape"]
    return np.fromfile(job["images"], np.uint8).reshape(count, height, width, 3)


def changed(value, rng):
    """The JSON value with one part of it removed or replaced."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key, copy = rng.choice(list(value)), dict(value)
        if rng.random() < 0.15:
            copy.pop(key)
        else:
            copy[key] = changed(value[key], rng)
        return copy
    if isinstance(value, list) and value and rng.random() < 0.8:
        copy = list(value)
        copy[rng.randrange(len(copy))] = changed(rng.choice(copy), rng)
        return copy
    return rng.choice([None, -1, 0, 1, 3, 1.5, 7.0, 2**31, 2**53, 1e308, "", "../x", [], {}, True, [1], "F16", "U8"])


def damage(folder, rng, id="archiveId", identity=manifest.IDENTITY):
    """Flips bits of a file or cuts it off, or changes the manifest and makes its hash right again."""
    if rng.random() < 0.5:
        path = os.path.join(folder, rng.choice(sorted(os.listdir(folder))))
        data = bytearray(open(path, "rb").read())
        for _ in range(rng.choice([1, 1, 3])):
            data[rng.randrange(len(data) if rng.random() < 0.5 else min(len(data), 600))] ^= 1 << rng.randrange(8)
        del data[len(data) if rng.random() < 0.8 else rng.randrange(len(data)) :]
        open(path, "wb").write(data)
        return
    path = os.path.join(folder, "manifest.json")
    value = changed(json.load(open(path, encoding="utf-8")), rng)
    if isinstance(value, dict) and id in value:
        content = {key: value[key] for key in identity if key in value}
        value[id] = hashlib.sha256(manifest.canonical(content).encode()).hexdigest()
    json.dump(value, open(path, "w", encoding="utf-8"))


def use(folder, verify):
    archive = softpack_labels.open(folder, verify=verify, kernels="numpy")
    chosen = range(min(archive.samples, 10))
    if archive.manifest["layout"]["kind"] == "blocks":
        labels = np.concatenate([data for *_, data in archive.blocks(0, chosen)])
    else:
        labels = archive.labels(0, chosen)
    for name in list(archive.columns)[1:]:
        archive.column(name, 0, [0])
    if archive.manifest["augmentation"] is not None:
        images = np.zeros((1 << 10, 20, 20, 3), np.uint8)
        Views(archive).render(0, range(min(4, archive.samples)), images, [0, 0, 0], [1, 1, 1], "numpy")
    return archive.id, labels


def fuzz(job, use=use, **kind):
    """Damaged copies of an archive: what went wrong in another way than by a SoftpackError."""
    rng, wrong, whole, refused = random.Random(job["seed"]), [], use(job["archive"], True), 0
    with tempfile.TemporaryDirectory() as temporary, np.errstate(all="ignore"):
        for i in range(job["count"]):
            folder = os.path.join(temporary, str(i))
            shutil.copytree(job["archive"], folder)
            damage(folder, rng, **kind)
            for verify in (True, False):
                try:
                    id, labels = use(folder, verify)
                    if verify and id == whole[0] and not np.array_equal(labels, whole[1]):
                        wrong.append(f"{i}: other labels of the same id")
                except softpack_labels.SoftpackError:
                    refused += 1
                except Exception as error:
                    wrong.append(f"{i} {verify}: {error!r}")
            shutil.rmtree(folder)
    return {"wrong": wrong, "refused": refused}


def use_packed(folder, verify):
    images = packed.PackedImages(folder, verify=verify)
    return images.id, np.concatenate([images[i].reshape(-1) for i in range(min(4, len(images)))])


def run(job):
    kind = job["kind"]
    if kind == "packed":
        archive = softpack_labels.open(job["archive"]) if "archive" in job else None
        images = pickle.loads(pickle.dumps(open_images(job["images"], archive)))
        pixels = [images[i] for i in job.get("samples", range(len(images)))]
        return {
            **{"id": images.id, "classes": images.classes, "sizes": [list(own.shape[:2]) for own in pixels]},
            "pixels": base64.b64encode(b"".join(own.tobytes() for own in pixels)).decode(),
        }
    if kind == "tokens":
        archive = softpack_labels.open_tokens(job["archive"])
        sequences = []
        for sequence, start, count in job["ranges"]:
            own, whole = archive.labels(sequence, start, count), archive.text(sequence)
            tokens = None if whole.tokens is None else whole.tokens.tolist()
            sequences.append({
                **{"tokens": tokens, "textFirst": whole.first, "labels": whole.labels, "tail": own.tail},
                **{"ids": own.ids.reshape(-1).tolist(), "probabilities": text(own.probabilities), "first": own.first},
                **{"next": own.next.tolist(), "counts": own.counts.tolist(), "shape": list(own.ids.shape)},
            })
        prior = None if archive.prior is None else text(archive.prior)
        return {"vocabulary": archive.vocabulary, "sequences": archive.sequences, "read": sequences, "prior": prior}
    if kind == "token-ids":
        archive = softpack_labels.open_tokens(job["archive"])

        def ids_or_code(read):
            try:
                return read().tolist()
            except softpack_labels.SoftpackError as error:
                return error.code

        return {
            "texts": [ids_or_code(lambda: archive.text(i).tokens) for i in range(archive.sequences)],
            "next": [ids_or_code(lambda: archive.labels(i, *job["range"]).next) for i in range(archive.sequences)],
        }
    if kind == "hidden":
        archive = softpack_labels.open_tokens(job["archive"])
        read = [archive.labels(*own) for own in job["ranges"]]

        def hidden_labels(own):
            ids = None if own.ids is None else own.ids.reshape(-1).tolist()
            corrections = None if own.corrections is None else text(own.corrections)
            return {"hidden": text(own.hidden), "next": own.next.tolist(), "first": own.first, "ids": ids, "corrections": corrections}

        return {
            **{"width": archive.width, "kind": archive.kind, "headSha256": archive.head_sha256},
            "head": None if archive.head is None else text(archive.head),
            "read": [hidden_labels(own) for own in read],
        }
    if kind == "fuzz":
        return fuzz(job)
    if kind == "fuzz-packed":
        return fuzz(job, use_packed, id="imagesId", identity=packed.IDENTITY)
    if kind == "fields":
        rng, wrong = random.Random(job["seed"]), []
        for _ in range(job["count"]):
            width, n, offset = rng.randrange(1, 33), rng.randrange(1, 5), rng.randrange(20)
            step, bits = width + rng.randrange(18), rng.randrange(100, 200)
            values = [[rng.randrange(1 << width) for _ in range(n)] for _ in range(3)]
            total = sum(v << (i * (bits + 200) + offset + j * step) for i, own in enumerate(values) for j, v in enumerate(own))
            row = np.frombuffer(total.to_bytes(-(-total.bit_length() // 8) or 1, "little"), np.uint8)
            row = np.concatenate([row, np.zeros(max(0, 125 - len(row)), np.uint8)])
            found = Codes(row, np.arange(3) * (bits + 200)).fields(width, n, offset, step)
            if found.tolist() != values:
                wrong.append([width, n, offset, step])
        return {"wrong": wrong}
    if kind == "hashes":
        xxh64.xxhash = None
        data = np.frombuffer(base64.b64decode(job["data"]), np.uint8)
        return {"hashes": [str(h) for h in xxh64.xxh64_blocks(data, job["size"])]}
    archive = softpack_labels.open(job["archive"], kernels=job.get("kernels", "numpy"))
    facts = {"id": archive.id, "classes": archive.classes, "epochs": archive.epochs, "kernels": archive.kernels}
    if kind == "labels":
        labels = [text(archive.labels(epoch, job.get("samples"), job.get("tau"))) for epoch in job["epochs"]]
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
    if kind == "blocks":
        found = {}
        for epoch in range(archive.epochs):
            for where, positions, first, count, data in archive.blocks(epoch, job["samples"]):
                for at, position in zip(where.tolist(), positions.tolist()):
                    found[f"{epoch}:{at}"] = [first + position, first, count, data.tobytes().hex()]
        return {**facts, "blocks": found}
    if kind == "pruned":
        views, batches = Views(archive), []
        for batch in PrunedSampler(archive, job["seed"]):
            row, positions = batch[0][0], [position for _, position in batch]
            _, ids, labels = archive.labels_of_row(row)
            pixels = views.render(row, positions, images_of(job), job["mean"], job["std"], "numpy")
            batches.append([row, ids.tolist(), text(labels), text(pixels)])
        return {**facts, "batches": batches}
    if kind == "order":
        sampler = BatchSampler(archive, **job["options"])
        batches = [[[int(e), s] for e, s in batch] for _ in range(job["iterations"]) for batch in sampler]
        return {**facts, "batches": batches, "state": sampler.state(job["epoch"], job["batches"])}
    if kind == "dataset":
        import torch

        from softpack_labels.torch import SoftLabels

        data = SoftLabels(archive, images_of(job), job["mean"], job["std"])
        sampler = (PrunedSampler if archive.pruned else BatchSampler)(archive, **job["options"])
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
