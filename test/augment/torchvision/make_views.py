"""Views of pseudo-random images by Pillow and torchvision, for replay.test.ts.

Written with torch 2.15.0, torchvision 0.29.2, Pillow 11.3.0 and numpy 2.4.6. Pillow 13 resizes down first where the
height shrinks much more than the width; these are the bytes of across first, as all releases before it.

python make_views.py FOLDER writes views.json, and all views in a row: pil.npy (uint8), antialias.npy and
bilinear.npy (float64 from 0 to 1).
"""
import json
import os
import sys

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

# Image height and width, crop (top, left, height, width), view height and width.
CASES = [
    (20, 20, (0, 0, 20, 20), (12, 12)),
    (20, 20, (3, 2, 7, 9), (12, 12)),
    (20, 20, (0, 0, 20, 20), (20, 20)),
    (31, 17, (5, 1, 26, 16), (9, 11)),
    (31, 17, (5, 1, 26, 16), (26, 5)),
    (64, 48, (0, 0, 64, 48), (7, 5)),
    (64, 48, (1, 3, 61, 41), (10, 10)),
    (64, 48, (9, 9, 1, 1), (5, 4)),
    (64, 48, (9, 9, 1, 30), (6, 4)),
    (64, 48, (9, 9, 50, 1), (4, 6)),
    (90, 120, (2, 7, 83, 101), (12, 16)),
    (90, 120, (0, 0, 90, 120), (1, 1)),
    (90, 120, (10, 20, 33, 34), (16, 17)),
    (90, 120, (10, 20, 25, 24), (12, 13)),
    (7, 200, (0, 0, 7, 200), (14, 9)),
    (200, 7, (0, 0, 200, 7), (9, 14)),
]


def pixels(case, height, width):
    """The image of replay.test.ts: steep and smooth parts alike."""
    index = np.arange(height * width * 3, dtype=np.uint64)
    noise = ((index + 977 * case) * 2654435761 % 2**32 >> 24).astype(np.uint8)
    ramp = (index // 3 % width * 255 // width).astype(np.uint8)
    return np.where(index // 96 % 2 == 0, noise, ramp).reshape(height, width, 3)


def main(folder):
    known, eight, exact = [], [], {True: [], False: []}
    for i, (height, width, crop, size) in enumerate(CASES):
        top, left, h, w = crop
        mirrored = i % 2 == 1
        image = pixels(i, height, width)
        view = F.resized_crop(Image.fromarray(image), top, left, h, w, list(size), InterpolationMode.BILINEAR)
        view = np.asarray(F.hflip(view) if mirrored else view)
        eight.append(view.reshape(-1))
        part = torch.from_numpy(image[top : top + h, left : left + w].copy()).permute(2, 0, 1)[None].double() / 255
        for antialias, views in exact.items():
            resized = interpolate(part, size=size, mode='bilinear', antialias=antialias)
            resized = resized.flip(-1) if mirrored else resized
            views.append(resized[0].permute(1, 2, 0).reshape(-1).numpy())
        known.append({'image': [height, width], 'crop': crop, 'size': size, 'flip': int(mirrored)})
    with open(os.path.join(folder, 'views.json'), 'w') as file:
        json.dump(known, file)
        file.write('\n')
    np.save(os.path.join(folder, 'pil.npy'), np.concatenate(eight))
    np.save(os.path.join(folder, 'antialias.npy'), np.concatenate(exact[True]))
    np.save(os.path.join(folder, 'bilinear.npy'), np.concatenate(exact[False]))


main(sys.argv[1])
