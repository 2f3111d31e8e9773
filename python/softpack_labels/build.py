"""Builds softpack's kernels as a shared library for this package: python -m softpack_labels.build [--source DIR].

DIR is a checkout of softpack, or the npm package (node_modules/softpack). Needs a C++17 compiler (CXX, or c++).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

from .errors import SoftpackError
from .native import library_path


def build(source=None, compiler=None):
    """Compiles the library and returns its path."""
    root = os.path.abspath(source or os.path.join(os.path.dirname(__file__), "..", ".."))
    listing = os.path.join(root, "native", "sources.json")
    if not os.path.isfile(listing):
        raise SoftpackError("NOT_FOUND", "no sources of softpack; name its folder by --source", listing)
    compiler = compiler or os.environ.get("CXX") or "c++"
    if shutil.which(compiler) is None:
        raise SoftpackError("BUILD_FAILED", "no C++ compiler", "CXX", found=compiler)
    with open(listing, encoding="utf-8") as file:
        sources = [os.path.join(root, name) for name in json.load(file)["kernels"]]
    path = library_path()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as folder:
        made = os.path.join(folder, "library")
        # Contraction would fuse a multiplication and an addition on one machine and not on another.
        flags = ["-O3", "-std=c++17", "-ffp-contract=off", "-fPIC", "-shared", "-pthread"]
        command = [compiler, *flags, "-I", os.path.join(root, "native"), *sources, "-o", made]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise SoftpackError("BUILD_FAILED", "the compiler failed", compiler, found=done.stdout[-2000:])
        os.replace(made, path)
    return path


def main():
    parser = argparse.ArgumentParser(prog="python -m softpack_labels.build", description=__doc__)
    parser.add_argument("--source", help="folder of softpack's sources")
    try:
        print(build(parser.parse_args().source))
    except SoftpackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
