"""The listing rule of torchvision.datasets.ImageFolder (0.25), without torchvision: prints classes and samples as JSON."""
import json
import os
import sys

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp')
root = sys.argv[1]
classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
samples = []
for target, name in enumerate(classes):
    for folder, _, files in sorted(os.walk(os.path.join(root, name), followlinks=True)):
        for file in sorted(files):
            if file.lower().endswith(EXTENSIONS):
                samples.append([os.path.relpath(os.path.join(folder, file), root), target])
print(json.dumps({'classes': classes, 'samples': samples}))
