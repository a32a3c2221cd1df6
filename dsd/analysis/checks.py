"""What every statistic asks of its input."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsd.errors import DsdError, UsageError

FloatArray = NDArray[np.float64]


def sorted_errors(errors: ArrayLike, name: str = "") -> FloatArray:
    """The errors (n,) in ascending order, as a new float array; n may be 0.

    Raises DsdError for anything but one row of finite numbers.
    """
    label = f"{name}: " if name else ""
    try:
        values = np.array(errors, dtype=float)
    except (TypeError, ValueError):
        raise DsdError(f"{label}errors must be numbers, one a network.") from None
    if values.ndim != 1:
        raise DsdError(f"{label}errors have shape {values.shape}; needs one row, one a network.")
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise DsdError(
            f"{label}{bad} of {values.size} errors are not finite. Give diverged networks their"
            " chance-level error and leave unfinished and failed ones out."
        )
    values.sort()
    return values


def checked_confidence(confidence: float) -> float:
    """The confidence, if it lies between 0 and 1. Raises UsageError otherwise."""
    if not 0 < confidence < 1:
        raise UsageError(f"confidence = {confidence}; needs a share between 0 and 1, such as 0.95.")
    return float(confidence)
