"""
Writes samples/gguf/blocks.json: blocks of random bits of every type that is read, and their numbers as the package gguf
(0.19.0, of llama.cpp) has them.

    python make_gguf.py
"""

import base64
import json
import os

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize

BLOCKS = 3
# Bytes of each block that are half floats.
HALVES = {
    Type.Q4_0: [0],
    Type.Q4_1: [0, 2],
    Type.Q5_0: [0],
    Type.Q5_1: [0, 2],
    Type.Q8_0: [0],
    Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2],
    Type.Q6_K: [208],
}


def sample(kind, random):
    elements, size = GGML_QUANT_SIZES[kind]
    if kind in (Type.F32, Type.F16, Type.BF16):
        values = random.standard_normal(16).astype(np.float32)
        if kind == Type.BF16:
            raw = (values.view(np.uint32) >> 16).astype(np.uint16)
        else:
            raw = values if kind == Type.F32 else values.astype(np.float16)
        data = np.frombuffer(raw.tobytes(), np.uint8)
    else:
        blocks = random.integers(0, 256, (BLOCKS, size), np.uint8)
        for at in HALVES[kind]:
            halves = random.standard_normal(BLOCKS).astype(np.float16)
            blocks[:, at : at + 2] = np.frombuffer(halves.tobytes(), np.uint8).reshape(BLOCKS, 2)
        data = blocks.reshape(-1)
    values = dequantize(data.view(np.float32) if kind == Type.F32 else data, kind)
    text = lambda a: base64.b64encode(a.tobytes()).decode()
    return {"name": kind.name, "bytes": text(data), "values": text(np.asarray(values, "<f4").reshape(-1))}


def main():
    random = np.random.default_rng(1)
    kinds = [Type.F32, Type.F16, Type.BF16, *HALVES]
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gguf")
    with open(os.path.join(folder, "blocks.json"), "w", encoding="utf-8") as file:
        json.dump({int(kind): sample(kind, random) for kind in kinds}, file, indent=1)
        file.write("\n")


main()
