"""Golden values of the baseline codecs, by NumPy in float64: python make.py (numpy 2.x)."""

import json
from pathlib import Path

import numpy as np

rng = np.random.default_rng(7)


def softmax(z, tau):
    e = np.exp((z - z.max(axis=1, keepdims=True)) / tau)
    return e / e.sum(axis=1, keepdims=True)


def robust(m, lam, tolerance=1e-9, iterations=500):
    """Inexact augmented Lagrangian with a full SVD (Lin, Chen and Ma 2010, algorithm 5)."""
    spectral = np.linalg.norm(m, 2)
    y = m / max(spectral, np.abs(m).max() / lam)
    mu, low = 1.25 / spectral, np.zeros_like(m)
    for _ in range(iterations):
        rest = m - low + y / mu
        sparse = np.sign(rest) * np.maximum(np.abs(rest) - lam / mu, 0)
        u, s, vt = np.linalg.svd(m - sparse + y / mu, full_matrices=False)
        low = (u * np.maximum(s - 1 / mu, 0)) @ vt
        y += mu * (m - low - sparse)
        mu = min(mu * 1.5, 1e7 * 1.25 / spectral)
        if np.linalg.norm(m - low - sparse) < tolerance * np.linalg.norm(m):
            break
    return low, sparse, s


def levels(values, k):
    """Best k levels of sorted values by dynamic programming over every division: exact, O(k n^2)."""
    n = len(values)
    s = np.concatenate([[0], np.cumsum(values)])
    q = np.concatenate([[0], np.cumsum(values**2)])
    cost = lambda a, b: (q[b] - q[a]) - (s[b] - s[a]) ** 2 / (b - a)
    best = np.array([0.0] + [cost(0, b) for b in range(1, n + 1)])
    for _ in range(1, k):
        best = np.array([0.0] + [min(best[a] + cost(a, b) if a else cost(0, b) for a in range(b)) for b in range(1, n + 1)])
    return best[n] / n


rows, columns, rank = 60, 24, 3
low = rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))
sparse = np.where(rng.random((rows, columns)) < 0.06, rng.normal(size=(rows, columns)) * 5, 0)
m = (low + sparse).astype(np.float32)
found, _, _ = robust(m.astype(np.float64), 1 / np.sqrt(rows))

logits = (rng.normal(size=(80, 6)) @ rng.normal(size=(6, 31)) * 2 + rng.normal(size=(80, 31)) * 0.1).astype(np.float32)
y = softmax(logits.astype(np.float64), 4.0)
mean = y.mean(axis=0)
_, s, vt = np.linalg.svd(y - mean, full_matrices=False)
k = 4
fit = np.maximum(mean + (y - mean) @ vt[:k].T @ vt[:k], 1e-6)
fit /= fit.sum(axis=1, keepdims=True)

values = np.sort(np.exp(rng.normal(size=300)).astype(np.float32).astype(np.float64))
flat = lambda a: [float(f"{v:.8g}") for v in np.asarray(a).ravel()]
golden = {
    "robust": {"rows": rows, "columns": columns, "matrix": flat(m), "lowRank": flat(found)},
    "principal": {"tau": 4, "k": k, "eps": 1e-6, "classes": 31, "logits": flat(logits), "labels": flat(fit)},
    "levels": {"values": flat(values), "error": {str(n): levels(values, n) for n in (2, 4, 8)}},
}
Path(__file__).with_name("baselines.json").write_text(json.dumps(golden))
