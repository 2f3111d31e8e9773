"""Writes a cache of top-k log-probabilities as Megatron-LM does (format 2), and its known values (megatron.json).

Run: python make_megatron.py   (torch, zstandard). The layout was learnt from the project's source; no code of it is used.
"""
import io, json, os, tarfile
import torch
import zstandard

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'megatron')
S, K, M, D, G, V = 3, 4, 2, 2, 8, 131072  # positions, entries, micro batch, ranks, samples per iteration, ids
os.makedirs(OUT, exist_ok=True)
torch.manual_seed(7)
known = [None] * (2 * G)
for rank in range(D):
    members = []
    for iteration in range(2):
        rows = G // D
        logits = torch.randn(S, rows, 12) * 2
        values = torch.log_softmax(logits, -1).topk(K, -1).values
        ids = torch.stack([torch.randperm(V)[:K] for _ in range(S * rows)]).reshape(S, rows, K)
        # The nucleus of one label holds two entries.
        values[1, 0, 2:], ids[1, 0, 2:] = -1e4, -1
        half = values.half()
        buffer = io.BytesIO()
        torch.save({'format_version': 2, 'values': half, 'indices_low': (ids & 0xFFFF).to(torch.uint16),
                    'bit_17': (ids >> 16).to(torch.bool)}, buffer)
        members.append((f'{iteration}.pt.zst', zstandard.ZstdCompressor().compress(buffer.getvalue())))
        for row in range(rows):
            x = (row // M * D + rank) * M + row % M
            known[iteration * G + x] = {
                'ids': [[i for i in ids[s, row].tolist() if i >= 0] for s in range(S)],
                'logProbs': [[v for v in half[s, row].tolist() if v > -1000] for s in range(S)]}
    meta = json.dumps({'hash': 'none', 'saver': {'mbs_save': M, 'dp_size_save': D, 'gbs_save': G, 'format_version': 2}})
    with tarfile.open(os.path.join(OUT, f'dp{rank}__1.tar'), 'w') as tar:
        for name, data in [('_meta.json', meta.encode())] + members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
with open(os.path.join(OUT, 'expected.json'), 'w') as f:
    json.dump(known, f, separators=(',', ':'))
