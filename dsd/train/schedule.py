"""The learning rate: half a period of a cosine after a linear warm-up."""

from __future__ import annotations

import math

from dsd.regime import Recipe

WARMUP_FROM = 0.1  # share of the rate that a warm-up starts at, as in pycls


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """The rate at `epoch`: 0 at the start of training, whole numbers between epochs.

    RegNet, section 3: lr/2 (1 + cos(pi t / T)). "cosine-epoch" holds it for a whole epoch (pycls);
    "cosine-step" moves it every step. The rate is that of `recipe.batch` images, never rescaled.
    """
    at = math.floor(epoch) if recipe.schedule == "cosine-epoch" else epoch
    rate = recipe.lr / 2 * (1 + math.cos(math.pi * at / recipe.epochs))
    if at < recipe.warmup_epochs:
        share = at / recipe.warmup_epochs
        rate *= WARMUP_FROM * (1 - share) + share
    return rate
