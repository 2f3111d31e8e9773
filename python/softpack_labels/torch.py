"""A PyTorch data set of (view, label) pairs; imports torch."""

import numpy as np
import torch

from .archive import Archive
from .images import open_images
from .order import BatchSampler, PrunedSampler
from .views import Views

__all__ = ["BatchSampler", "PrunedSampler", "SoftLabels"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class SoftLabels(torch.utils.data.Dataset):
    """(float32 view [3, height, width], float32 label [classes]) by (epoch, sample); of a pruned archive by (row, position).

    archive: a path or an open archive. images: a folder with one folder per class, or packed by `softpack pack-images`, or
    anything with `[sample]` that gives uint8 [height, width, 3]. The view is the one that the label was made for, crop, flip, CutMix or mixup included.
    """

    def __init__(self, archive, images, mean=IMAGENET_MEAN, std=IMAGENET_STD, kernels="auto"):
        self._path = archive if not isinstance(archive, Archive) else archive.folder
        self._archive = archive if isinstance(archive, Archive) else Archive(str(archive), kernels=kernels)
        self.views = Views(self._archive)
        is_path = isinstance(images, str) or hasattr(images, "__fspath__")
        self.images = open_images(images, self._archive) if is_path else images
        self.mean, self.std, self.kernels = mean, std, kernels

    @property
    def archive(self):
        return self._archive

    def __len__(self):
        return self._archive.samples

    def __getitem__(self, index):
        return self.__getitems__([index])[0]

    def __getitems__(self, indices):
        """A whole batch at a time, as `DataLoader` asks for it: labels are decoded together."""
        pairs = [index if isinstance(index, tuple) else (0, index) for index in indices]
        epochs, samples = (np.array(part, np.int64) for part in zip(*pairs))
        views = torch.empty((len(pairs), 3, *self.views.size))
        labels = torch.empty((len(pairs), self._archive.classes))
        for epoch in np.unique(epochs):
            where = np.flatnonzero(epochs == epoch)
            ids = samples[where]
            pixels = self.views.render(int(epoch), ids, self.images, self.mean, self.std, self.kernels)
            views[where] = torch.from_numpy(pixels).permute(0, 3, 1, 2)
            labels[where] = torch.from_numpy(self._archive.labels(int(epoch), ids))
        return list(zip(views, labels))

    def __getstate__(self):
        """Worker processes open the archive again: decoders and mapped files stay in their own process."""
        return {**self.__dict__, "_archive": None, "views": None}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._archive = Archive(str(self._path), kernels=self.kernels)
        self.views = Views(self._archive)
