"""The slow way to draw: plain rejection from the parent, as an oracle."""

from __future__ import annotations

import numpy as np


def reject(draws, holds, n, rng):
    """n vectors of independent stage draws that satisfy all of `holds`, by trying until they do."""
    kept = np.empty((0, len(draws)))
    while len(kept) < n:
        vectors = np.stack([rng.choice(d.values, 65536, p=d.probabilities) for d in draws], axis=1)
        kept = np.concatenate([kept, vectors[holds(vectors).all(axis=1)]])
    return kept[:n]


def counts(vectors):
    """Vector -> how often."""
    values, times = np.unique(vectors, axis=0, return_counts=True)
    return {tuple(v): int(t) for v, t in zip(values.tolist(), times, strict=True)}
