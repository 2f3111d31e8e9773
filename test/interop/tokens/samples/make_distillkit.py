"""Writes labels as DistillKit captures them, and their known values (expected.json), for several configurations.

Run: python make_distillkit.py   (torch, pyarrow, pyyaml). The layout was learnt from the project's source; no code of
it is used. Values of the labels are what torch makes of the stored bytes.
"""
import json, math, os, shutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'distillkit')
DT = {'float16': torch.float16, 'bfloat16': torch.bfloat16, 'float32': torch.float32, 'float64': torch.float64}
BIN = lambda scale, bits, n: {'scale_dtype': scale, 'element_bits': bits, 'num_elements': n}
CONFIGS = {
    'exact': dict(d=301, k=6, exact_k=6, exact_dtype='float32', residual_bins=[], delta_encoding=False),
    'budget': dict(d=49153, k=20, exact_k=4, exact_dtype='bfloat16', polynomial_terms=[0, 1, 2, 'sqrt'],
                   term_dtype='float32', residual_bins=[BIN('float16', 3, 9)]),
    'fine': dict(d=151937, k=24, exact_k=3, exact_dtype='float32', polynomial_terms=[0, 1, 'exp'],
                 term_dtype='float64', normalize_t=True, delta_encoding=False,
                 residual_bins=[BIN('float32', 16, 5), BIN('bfloat16', 8, 7), BIN('float16', 1, 3)]),
    'bins': dict(d=1000, k=12, exact_k=1, exact_dtype='float16', polynomial_terms=None, term_dtype='float16',
                 residual_bins=[BIN('float16', 11, 11)], delta_encoding=True),
    'halves': dict(d=65536, k=10, exact_k=0, exact_dtype='float32', polynomial_terms=[0, 1], term_dtype='float16',
                   residual_bins=[BIN('float64', 33, 4)], delta_encoding=False),
}
FULL = dict(polynomial_terms=None, term_dtype='float32', error_diffusion=False, normalize_t=False)
torch.manual_seed(3)


def raw(tensor):
    return bytes(tensor.contiguous().view(torch.uint8).flatten().tolist())


def pack(values, bits):
    text = ''.join(format(v & ((1 << bits) - 1), f'0{bits}b') for v in values)
    text += '0' * (-len(text) % 8)
    return bytes(int(text[i:i + 8], 2) for i in range(0, len(text), 8))


def basis(c):
    n, t = c['k'] - c['exact_k'], DT[c['term_dtype']]
    pts = torch.linspace(0, 1, n, dtype=t) if c['normalize_t'] else torch.arange(n, dtype=t)
    return torch.stack([pts ** p if isinstance(p, int) else getattr(torch, p)(pts) for p in c['polynomial_terms']], -1)


def store(c, logprobs):
    """Bytes of a label, and what torch decodes of them."""
    ex, out, t = c['exact_k'], DT[c['exact_dtype']], DT[c['term_dtype']]
    work = torch.cat([logprobs[:1], logprobs.diff()]) if c.get('delta_encoding', True) else logprobs
    exact = work[:ex].to(out)
    data, rest, fit = raw(exact), work[ex:].double(), None
    if c['polynomial_terms']:
        x = basis(c)
        k = torch.linalg.lstsq(x.double(), rest.unsqueeze(-1), driver='gelsd').solution.squeeze(-1).to(t)
        data += raw(k)
        fit = (x * k.unsqueeze(0)).sum(-1)
        rest = rest - fit.double()
    parts, at = [], 0
    for b in c['residual_bins']:
        part, bits = rest[at:at + b['num_elements']], b['element_bits']
        most = 1.0 if bits == 1 else 2.0 ** (bits - 1)
        scale = (part.abs().max() / most).to(DT[b['scale_dtype']]).reshape(1)
        low, high = (0, 1) if bits == 1 else (-2 ** (bits - 1), 2 ** (bits - 1) - 1)
        q = [min(high, max(low, round(v))) for v in (part / scale.double()).tolist()]
        data += raw(scale) + pack([v - low for v in q], bits)
        elements = torch.tensor([v - low for v in q], dtype=torch.long)
        parts.append((elements.float() * 2.0 - 1.0) * scale if bits == 1 else (elements + low).float() * scale)
        at += b['num_elements']
    n = c['k'] - ex
    residual = torch.cat(parts) if parts else torch.zeros(n, dtype=out)
    residual = torch.nn.functional.pad(residual, (0, n - len(residual)))
    rest = residual.to(out) if fit is None else fit + residual.to(out)
    values = torch.cat([exact, rest])
    if c.get('delta_encoding', True):
        values = torch.cumsum(values.float(), -1).to(out)
    return data, values.double()


shutil.rmtree(OUT, ignore_errors=True)
for name, changes in CONFIGS.items():
    c = {**FULL, **changes}
    folder = os.path.join(OUT, name)
    os.makedirs(folder)
    with open(os.path.join(folder, 'compression_config.yaml'), 'w') as f:
        yaml.safe_dump(c, f)
    bits, known, tables = math.ceil(math.log2(c['d'])), [], []
    for file in range(2):
        rows = {'input_ids': [], 'compressed_logprobs': [], 'bytepacked_indices': []}
        for length in (3, 2 + file):
            tokens = torch.randint(0, c['d'] - 1, (length,)).tolist()
            labels = {'tokens': tokens, 'ids': [], 'logProbs': []}
            data, packed = [], []
            for _ in range(length - 1):
                logprobs = torch.log_softmax(3 * torch.randn(400), -1).topk(c['k']).values
                ids = torch.randperm(c['d'] - 1)[:c['k']].tolist()
                own, values = store(c, logprobs)
                data.append(list(own))
                packed.append(list(pack(ids, bits)))
                labels['ids'].append(ids)
                labels['logProbs'].append(values.tolist())
            known.append(labels)
            for key, value in zip(rows, (tokens, data, packed)):
                rows[key].append(value)
        u8 = pa.list_(pa.list_(pa.uint8()))
        table = pa.table({'input_ids': pa.array(rows['input_ids'], pa.list_(pa.uint64())),
                          'compressed_logprobs': pa.array(rows['compressed_logprobs'], u8),
                          'bytepacked_indices': pa.array(rows['bytepacked_indices'], u8)})
        pq.write_table(table, os.path.join(folder, f'data_{file}.parquet'), compression=['snappy', 'zstd'][file],
                       row_group_size=1 if file else None)
    with open(os.path.join(folder, 'expected.json'), 'w') as f:
        json.dump(known, f, separators=(',', ':'))
