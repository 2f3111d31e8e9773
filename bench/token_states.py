"""
Hidden states of texts behind a Llama-like GGUF model's last norm, in batches: several times as fast as a token at a time.

    python bench/token_states.py MODEL.gguf DIR [TOKENS]

Packages: torch, gguf. Products are of bfloat16 with float32 sums where /proc/cpuinfo tells of such units, and of float32 elsewhere. Reads
tokens.npy and lengths.npy of bench/token-corpus.mjs in DIR; what was interrupted goes on. Writes DIR/labelled: hidden.npy (float16),
head.npy, tokens.npy and lengths.npy of the texts that are done.
"""

import os
import re
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from gguf import GGUFReader
from gguf.quants import dequantize

TEXTS = 4  # of a batch
LENGTH = 512


def product_type():
    """bfloat16 for processors with units for it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return torch.bfloat16 if re.search(r"\b(avx512_|amx_)?bf16\b", file.read()) else torch.float32
    except OSError:
        return torch.float32


PRODUCTS = product_type()


class Model:
    def __init__(self, path):
        reader = GGUFReader(path)
        field = lambda name: reader.fields["llama." + name].contents()
        self.heads, self.groups = field("attention.head_count"), field("attention.head_count_kv")
        self.eps, self.size = field("attention.layer_norm_rms_epsilon"), field("embedding_length")
        tensors = {t.name: torch.from_numpy(dequantize(t.data, t.tensor_type).astype(np.float32)) for t in reader.tensors}
        self.embeddings = tensors["token_embd.weight"]
        self.head = tensors.get("output.weight", self.embeddings)
        self.norm = tensors["output_norm.weight"]
        self.layers = [self._layer(tensors, f"blk.{i}.") for i in range(field("block_count"))]
        width = self.size // self.heads
        angles = torch.arange(LENGTH)[:, None] * field("rope.freq_base") ** (-torch.arange(0, width, 2) / width)
        self.cos, self.sin = angles.cos(), angles.sin()

    def _layer(self, tensors, prefix):
        """Norms are folded into the matrices behind them."""
        of = lambda name: tensors[prefix + name + ".weight"]
        qkv = torch.cat([of("attn_q"), of("attn_k"), of("attn_v")]) * of("attn_norm")
        gate_up = torch.cat([of("ffn_gate"), of("ffn_up")]) * of("ffn_norm")
        return [m.to(PRODUCTS).contiguous() for m in (qkv, of("attn_output"), gate_up, of("ffn_down"))]

    def _normed(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

    def _turned(self, x):
        a, b = x.float()[..., 0::2], x.float()[..., 1::2]
        cos, sin = self.cos[: x.shape[-2]], self.sin[: x.shape[-2]]
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).to(PRODUCTS)

    @torch.inference_mode()
    def states(self, ids):
        """[texts, tokens, size] of ids [texts, tokens]; what pads a text at its end changes nothing before it."""
        batch, length = ids.shape
        x, width = self.embeddings[ids], self.size // self.heads
        apart = lambda y, heads: y.view(batch, length, heads, width).transpose(1, 2)
        for qkv, out, gate_up, down in self.layers:
            sizes = [self.size, self.groups * width, self.groups * width]
            q, k, v = F.linear(self._normed(x).to(PRODUCTS), qkv).split(sizes, -1)
            q, k, v = self._turned(apart(q, self.heads)), self._turned(apart(k, self.groups)), apart(v, self.groups)
            k, v = (y.repeat_interleave(self.heads // self.groups, 1) for y in (k, v))
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + F.linear(mixed.transpose(1, 2).reshape(batch, length, self.size), out).float()
            gate, up = F.linear(self._normed(x).to(PRODUCTS), gate_up).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, down).float()
        return self._normed(x) * self.norm


def main(path, folder, most):
    torch.set_num_threads(1)
    model = Model(path)
    tokens, lengths = (np.load(f"{folder}/{name}.npy") for name in ("tokens", "lengths"))
    begins = np.concatenate([[0], np.cumsum(lengths)])
    part, row = f"{folder}/hidden.part", 2 * model.size
    have = os.path.getsize(part) // row if os.path.exists(part) else 0
    done = (int(np.searchsorted(begins, have, "right")) - 1) // TEXTS * TEXTS
    with open(part, "ab") as out:
        out.truncate(int(begins[done]) * row)
        for first in range(done, len(lengths), TEXTS):
            if begins[first] >= most:
                break
            begin, texts = time.process_time(), range(first, min(first + TEXTS, len(lengths)))
            ids = np.zeros((len(texts), max(lengths[i] for i in texts)), np.int64)
            for j, i in enumerate(texts):
                ids[j, : lengths[i]] = tokens[begins[i] : begins[i + 1]]
            states = model.states(torch.from_numpy(ids)).half().numpy()
            for j, i in enumerate(texts):
                out.write(states[j, : lengths[i]].tobytes())
            out.flush()
            done = texts[-1] + 1
            own = begins[done] - begins[first]
            print(f"{begins[done]} tokens, {1000 * (time.process_time() - begin) / own:.2f} ms each", flush=True)
    count, target = int(begins[done]), f"{folder}/labelled"
    os.makedirs(target, exist_ok=True)
    np.save(f"{target}/hidden.npy", np.memmap(part, "<f2", "r", shape=(count, model.size)))
    np.save(f"{target}/head.npy", model.head.numpy())
    np.save(f"{target}/tokens.npy", tokens[:count])
    np.save(f"{target}/lengths.npy", lengths[:done])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else sys.maxsize)
