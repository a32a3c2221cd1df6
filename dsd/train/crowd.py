"""Who trains on the same device at the same time, and what follows where its memory is short."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dsd.errors import DsdError
from dsd.store.engine import Store
from dsd.store.fleet import beside
from dsd.train.patience import patiently


class NoRoom(DsdError):
    """A network needs memory that others on the device hold; with fewer of them it is tried again.

    The exit code tells so whoever watches the worker (`dsd.launch.crew`).
    """

    exit_code = 75


@dataclass(frozen=True)
class Crowd:
    """The workers on one device; `launched` is "" for one that was started by hand.

    They are counted in a `crew` (`dsd.launch.crew`), and not `known` where another engine decides.
    """

    store: Store
    launched: str
    device: str
    crew: bool = False

    @property
    def known(self) -> bool:
        """Whether their number is known."""
        return self.crew or not self.launched

    def size(self) -> int:
        """How many they are, the asking one among them."""
        if not self.crew:
            return 1
        return max(1, patiently(lambda: beside(self.store, self.launched, self.device)))


def make_room(device: torch.device) -> None:
    """Give back what the last network has left in torch's cache: others may need it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
