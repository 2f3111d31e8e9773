"""Images in the order of their sample ids: of a folder, which needs Pillow, or packed."""

import hashlib
import json
import os

import numpy as np

from .errors import SoftpackError
from .packed import PackedImages, is_packed

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif", ".avif")


def open_images(folder, archive=None):
    """Images of a folder of classes, or packed ones; with `archive`, required to be those of its labels."""
    return PackedImages(folder, archive) if is_packed(folder) else ImageFolder(folder, archive)


class ImageFolder:
    """One folder per class, as torchvision reads it: classes and files by name. `folder[i]` is uint8 [h, w, 3]."""

    def __init__(self, root, archive=None):
        self.root = os.fspath(root)
        if not os.path.isdir(self.root):
            raise SoftpackError("NOT_FOUND", "no such folder", self.root)
        self.classes = sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir())
        self.names, self.targets = [], []
        for target, name in enumerate(self.classes):
            for folder, _, files in sorted(os.walk(os.path.join(self.root, name), followlinks=True)):
                for file in sorted(files):
                    if file.lower().endswith(EXTENSIONS):
                        path = os.path.relpath(os.path.join(folder, file), self.root)
                        self.names.append(path.replace(os.sep, "/"))
                        self.targets.append(target)
        self._fit = None
        if archive is not None:
            self._require(archive)

    def _require(self, archive):
        """Labels of other images would train a student on noise without a word."""
        recorded = archive.manifest.get("images") or {}
        self._fit = recorded.get("fit")
        if len(self.names) != archive.images:
            raise SoftpackError(
                "INVALID_ARGUMENT", "not the images of this archive", "images", archive.images, len(self.names)
            )
        described = {"kind": "files"} if self._fit is None else {"kind": "files", "fit": self._fit}
        text = "\n".join([json.dumps(described, separators=(",", ":"))] + self.names)
        found = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        if recorded.get("id", found) != found:
            raise SoftpackError(
                "INVALID_ARGUMENT", "images of other names than the archive's", "images", recorded["id"], found
            )

    def __len__(self):
        return len(self.names)

    def __getitem__(self, sample):
        from PIL import Image

        path = os.path.join(self.root, self.names[sample])
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            raise SoftpackError("INVALID_FILE", "not an image that Pillow reads", path, found=str(error)) from None
        self._require_size(path, pixels)
        return pixels

    def _require_size(self, path, pixels):
        """Images that softpack made smaller as it decoded them must come from files of that size."""
        if self._fit is None:
            return
        height, width = pixels.shape[:2]
        kind = self._fit.get("kind")
        fits = min(height, width) <= self._fit["pixels"] if kind == "short-side" else [height, width] == self._fit["size"]
        if not fits:
            raise SoftpackError(
                "UNSUPPORTED",
                "the labelled image was made smaller by softpack; give files of that size, or decode them yourself",
                path,
                json.dumps(self._fit),
                f"{height} x {width}",
            )
