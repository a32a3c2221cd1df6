"""The slow way to draw: plain rejection from the parent, as an oracle."""

from __future__ import annotations

import numpy as np


def reject(draws, holds, n, rng):
    """n vectors of independent stage draws that satisfy `holds`, by trying until they do."""
    kept = []
    while len(kept) < n:
        vectors = np.stack([rng.choice(d.values, 4096, p=d.probabilities) for d in draws], axis=1)
        kept.extend(v for v in vectors if holds(v))
    return np.array(kept[:n])


def counts(vectors):
    """Vector -> how often."""
    values, times = np.unique(vectors, axis=0, return_counts=True)
    return {tuple(v): int(t) for v, t in zip(values.tolist(), times, strict=True)}
