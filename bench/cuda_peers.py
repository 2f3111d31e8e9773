"""The work of native_cuda_check --time by PyTorch, on the same device: eager and compiled, in bfloat16 and TF32.

    python3 bench/cuda_peers.py --out peers.json [--labels 262144] [--rounds 15]

Decoding by gather and GEMM (codewords looked up, times the basis) and by embedding_bag (rows of tables added up),
each with the clamp head; decoding with the KL loss and its gradient; encoding by GEMM, distances and argmin. Every
speed stands beside its error, relative to float64 over 512 labels. Inputs rotate; times are the device's own events;
medians with the least and the greatest. Needs torch; nothing else of softpack.
"""

import argparse
import json
import statistics

import torch

CLASSES = 1000
EPS = 1e-6
SETTINGS = [(795, 5, 1024), (990, 15, 2048), (1000, 20, 1024), (1000, 25, 512), (1000, 50, 128), (1000, 100, 64)]
CHECKED = 512
# Labels at a time: what PyTorch can hold of its intermediates.
CHUNK = 32768
TABLE_CAP = 24 << 30


def clamp_head(v):
    v = v.clamp_min(EPS)
    return v / v.sum(dim=1, keepdim=True)


def decode_gemm(codes, codebook, basis):
    return clamp_head(codebook[codes].reshape(codes.shape[0], -1) @ basis)


def decode_bag(codes, table, offsets):
    return clamp_head(torch.nn.functional.embedding_bag(codes + offsets, table, mode="sum"))


def kl_gradient(y, logits, tau=4.0):
    log_p = torch.log_softmax(logits / tau, dim=1)
    return torch.sum(y * (torch.log(y) - log_p), dim=1), (log_p.exp() - y) / tau


def decode_kl(codes, codebook, basis, logits):
    return kl_gradient(decode_gemm(codes, codebook, basis).float(), logits)


def encode(labels, projection, codebook, half_norms):
    h = (labels @ projection).reshape(-1, codebook.shape[1])
    return torch.argmin(half_norms - h @ codebook.T, dim=1)


def timed(work, labels, rounds):
    """Labels a second: median, least, greatest. `work(i)` handles chunk i."""
    chunks = max(1, labels // CHUNK)
    speeds = []
    for round_ in range(-3, rounds):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for i in range(chunks):
            work((round_ + 3) * chunks + i)
        stop.record()
        torch.cuda.synchronize()
        if round_ >= 0:
            speeds.append(chunks * CHUNK / (start.elapsed_time(stop) * 1e-3))
    return statistics.median(speeds), min(speeds), max(speeds)


def deviation(found, expected):
    return ((found.double() - expected).norm() / expected.norm()).item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--labels", type=int, default=1 << 18)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.manual_seed(1)
    device = "cuda"
    rows = []

    def add(operation, setting, work, error):
        median, least, most = timed(work, args.labels, args.rounds)
        rows.append(
            {
                "operation": operation,
                "setting": str(setting).replace(" ", ""),
                "labelsPerSecond": median,
                "least": least,
                "most": most,
                "error": error,
            }
        )
        print(f"{operation:34} {setting!s:18} {median / 1e6:9.2f} M labels/s, error {error:.1e}", flush=True)

    n = 8192
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(10):
        a @ b
    stop.record()
    torch.cuda.synchronize()
    matmul = 10 * 2 * n**3 / (start.elapsed_time(stop) * 1e-3)

    for latent, width, levels in SETTINGS:
        setting = (latent, width, levels)
        stages = latent // width
        codebook = torch.randn(levels, width, device=device)
        basis = torch.randn(latent, CLASSES, device=device)
        # More chunks than the L2 cache holds, taken in turn.
        codes = [torch.randint(levels, (CHUNK, stages), device=device) for _ in range(8)]
        logits = [torch.randn(CHUNK, CLASSES, device=device) for _ in range(4)]
        offsets = torch.arange(stages, device=device) * levels
        exact = decode_gemm(codes[0][:CHECKED], codebook.double(), basis.double())
        exact_gradient = kl_gradient(exact, logits[0][:CHECKED].double())[1]
        table_bytes = stages * levels * CLASSES * 2
        for precision in ("bf16", "tf32"):
            torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
            dtype = torch.bfloat16 if precision == "bf16" else torch.float32
            mu, d = codebook.to(dtype), basis.to(dtype)
            for compiled in (False, True):
                form = f"{'compile' if compiled else 'eager'} {precision}"
                torch._dynamo.reset()
                wrap = (lambda f: torch.compile(f, mode="max-autotune-no-cudagraphs")) if compiled else (lambda f: f)
                gemm, bag, loss, code = (wrap(f) for f in (decode_gemm, decode_bag, decode_kl, encode))
                error = deviation(gemm(codes[0], mu, d)[:CHECKED], exact)
                add(f"decode gemm {form}", setting, lambda i: gemm(codes[i % 8], mu, d), error)
                if table_bytes * (1 if precision == "bf16" else 2) < TABLE_CAP:
                    table = torch.cat([codebook @ basis[s * width : (s + 1) * width] for s in range(stages)]).to(dtype)
                    error = deviation(bag(codes[0], table, offsets)[:CHECKED], exact)
                    add(f"decode embedding_bag {form}", setting, lambda i: bag(codes[i % 8], table, offsets), error)
                    del table
                error = deviation(loss(codes[0], mu, d, logits[0])[1][:CHECKED], exact_gradient)
                add(f"decode_kl {form}", setting, lambda i: loss(codes[i % 8], mu, d, logits[i % 4]), error)
                projection, norms = basis.T.contiguous().to(dtype), (codebook.square().sum(1) / 2).to(dtype)
                small = [part[: CHUNK // 8].to(dtype) for part in logits]
                wanted = encode(small[0][:CHECKED].double(), basis.T.double(), codebook.double(), codebook.double().square().sum(1) / 2)
                found = code(small[0], projection, mu, norms)[: wanted.shape[0]]
                wrong = (found != wanted).double().mean().item()
                add(f"encode {form}", setting, lambda i: [code(small[(i + j) % 4], projection, mu, norms) for j in range(8)], wrong)

    report = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "labels": args.labels,
        "matmulFlopsPerSecond": matmul,
        "errorOf": "labels and gradients: relative to float64; encode: share of codes that differ",
        "rows": rows,
    }
    with open(args.out, "w") as file:
        json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
