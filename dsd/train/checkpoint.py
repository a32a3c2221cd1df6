"""Training kept on disk between epochs: whoever takes the network up goes on from there."""

from __future__ import annotations

import contextlib
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dsd.train.files import write_whole
from dsd.train.loop import Epoch, Session

EVERY_S = 10.0  # at most so much training is lost, or an epoch where that takes longer
FORMAT = 1


@dataclass
class Checkpoint:
    """The file of one run; `identity` says which run, and a file of another is never used.

    It holds the weights, their average if the regime asks for one, the optimiser and every epoch so
    far. Randomness needs no place in it: it
    is derived from the run's seed and the epoch (see `dsd.train.seeds`).
    """

    path: Path
    identity: Mapping[str, Any]
    say: Callable[[str], None]
    saved: float = 0.0

    @classmethod
    def of(
        cls, folder: Path, network: str, regime: str, seed: int, say: Callable[[str], None]
    ) -> Checkpoint:
        """The checkpoint of the run of a network under a regime (digests) with its own seed."""
        identity = {"network": network, "regime": regime, "seed": seed, "format": FORMAT}
        path = folder / f"{network}-{regime}-{seed:x}.pt"
        return cls(path, identity, say, time.monotonic())

    def read(self) -> Kept | None:
        """What the file holds, None without one.

        A file that cannot be read, or is another run's, is said and left out of account.
        """
        if not self.path.exists():
            return None
        try:
            kept = whole(self.path)
            if kept["identity"] != dict(self.identity):
                raise ValueError("it belongs to another run")
            return Kept(kept, [Epoch(**epoch) for epoch in kept["epochs"]])
        except Exception as error:  # damaged bytes fail in their own ways
            self.useless(error)
            return None

    def useless(self, error: BaseException) -> None:
        """Say that the file does not help."""
        self.say(f"Checkpoint {self.path} is of no use: {first_line(error)}. Starting anew.")

    def save(self, session: Session, epochs: Sequence[Epoch], at_once: bool = False) -> None:
        """Replace the file, whole or not at all, unless it is younger than EVERY_S seconds.

        A full disk is said and costs the checkpoint only: training goes on.
        """
        if not at_once and time.monotonic() - self.saved < EVERY_S:
            return
        state = {
            "identity": dict(self.identity),
            "epochs": [asdict(epoch) for epoch in epochs],
            "model": session.model.state_dict(),
            "optimizer": session.optimizer.state_dict(),
            "memory_format": session.step.memory_format,
            "device": session.step.device.type,
        }
        if session.step.average:
            state["average"] = session.step.average.network.state_dict()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, lambda file: torch.save(state, file))
        except (OSError, RuntimeError) as error:
            self.say(f"No checkpoint written to {self.path.parent}: {first_line(error)}")
        self.saved = time.monotonic()

    def remove(self) -> None:
        """Forget the file, and what killed writers left of it: the run has ended."""
        with contextlib.suppress(OSError):
            for file in (self.path, *self.path.parent.glob(f"{self.path.name}.*.partial")):
                file.unlink(missing_ok=True)


@dataclass(frozen=True)
class Kept:
    """A checkpoint as it was read."""

    state: Mapping[str, Any]
    epochs: list[Epoch]

    def memory_format(self, device: torch.device) -> str:
        """The one that was chosen for this kind of device, "" where none was."""
        same = self.state.get("device") == device.type
        return str(self.state["memory_format"]) if same else ""

    def put_into(self, session: Session) -> None:
        """Put the session where it left off. Raises Unusable: the model may hold parts of it."""
        try:
            session.model.load_state_dict(self.state["model"])
            session.optimizer.load_state_dict(self.state["optimizer"])
            _laid_out(session.optimizer)
            if session.step.average:
                session.step.average.network.load_state_dict(self.state["average"])
        except Exception as error:
            raise Unusable from error


def _laid_out(optimizer: torch.optim.Optimizer) -> None:
    """Lay momentum out in memory as its weights are, which another device may have laid otherwise.

    The fused step on CUDA takes nothing else.
    """
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if torch.is_tensor(value) and value.shape == weight.shape:
                state[name] = torch.empty_like(weight, requires_grad=False).copy_(value)


class Unusable(Exception):
    """A checkpoint does not fit; the model may hold parts of it and is to be built anew."""


def whole(path: Path) -> Any:
    """What torch.save wrote to a file, on the CPU. Raises an Exception of any kind for damage.

    torch reads weights without comparing them with their checksums, so a damaged byte would pass.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise ValueError(f"{damaged} is damaged")
    return torch.load(path, map_location="cpu", weights_only=True)


def first_line(error: BaseException) -> str:
    """An error in one line; of torch's about a file, the system's that is behind it."""
    behind = error.__context__
    if isinstance(error, RuntimeError) and isinstance(behind, OSError):
        error = behind
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
