"""Mean and spread of a network that was trained several times."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Repeated:
    """n errors in percent; `sd` is that of a sample (n - 1), None of a single one."""

    n: int
    mean: float | None
    sd: float | None
    min: float | None
    max: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def repeated(errors: ArrayLike) -> Repeated:
    """Sum up the errors (n,) of one network, those that are no number left out."""
    found = np.asarray(errors, dtype=float)
    found = found[np.isfinite(found)]
    if not found.size:
        return Repeated(0, None, None, None, None)
    sd = float(found.std(ddof=1)) if found.size > 1 else None
    return Repeated(len(found), float(found.mean()), sd, float(found.min()), float(found.max()))
