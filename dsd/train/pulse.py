"""How far an epoch is, seen from outside: counted while steps are launched, read by who draws."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass
class Pulse:
    """Steps launched in the present epoch, of `steps` with `batch` images each.

    Launched, not done: to wait for the device would cost speed. After the last step comes the test.
    """

    steps: int = 0
    batch: int = 0
    launched: int = 0
    begun: float = 0.0  # when the first step was launched, by the monotonic clock

    def network(self, steps: int, batch: int) -> None:
        """Another network begins."""
        self.steps, self.batch = steps, batch
        self.epoch()

    def epoch(self) -> None:
        """An epoch ended, or none is trained."""
        self.launched = 0

    def beat(self) -> None:
        """One step more."""
        if not self.launched:
            self.begun = time.monotonic()
        self.launched += 1

    @property
    def images_per_s(self) -> float | None:
        """The speed since this epoch began; None where it would be a guess, and in the test."""
        launched, seconds = self.launched - 1, time.monotonic() - self.begun
        if launched < 5 or launched + 1 >= self.steps or seconds < 1:
            return None
        return launched * self.batch / seconds
