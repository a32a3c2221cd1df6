"""Rank 0's side of training a network over several devices: it starts the other ranks, tells them
what to do, and finds out what became of them.

Each other rank is a process (`dsd.train.follow`) that lives through many networks. It reads words,
a line of JSON each, and leaves when there are no more; it writes a line when it is ready and one
when it fails. Only rank 0, the worker, knows the database, checkpoints and signals.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from dsd.train.checkpoint import Checkpoint
from dsd.train.ddp import ALONE, TIMEOUT_S, RankLost, Ranks, is_lost_contact
from dsd.train.device import device_name, prepare
from dsd.train.how import How
from dsd.train.loop import Session
from dsd.train.peer import LOOK_S, Peer
from dsd.train.share import Share

GRACE_S = 30.0  # for rank 0 to see by itself that another one is gone
LEAVE_S = 10.0  # for ranks that were asked to leave


@dataclass
class Team:
    """The devices that train a network together, one rank on each; the first is this process's.

    `folder` holds the images, `reader` reads them where they are files. With one device there is no
    other process and nothing to do.
    """

    devices: Sequence[torch.device]
    folder: Path
    reader: str = "torchvision"
    timeout_s: float = TIMEOUT_S
    give_up: Callable[[Exception], None] | None = None
    grace_s: float = GRACE_S
    peers: list[Peer] = field(default_factory=list)
    ranks: Ranks = ALONE
    place: Path | None = None
    handled: threading.Event = field(default_factory=threading.Event)
    busy: bool = False  # the others have been told of this network

    @property
    def count(self) -> int:
        """Ranks, this one included."""
        return len(self.devices)

    @property
    def name(self) -> str:
        """What people call the devices."""
        first = self.devices[0]
        if self.count == 1:
            return device_name(first)
        if first.type == "cpu":
            return f"{self.count} ranks on {device_name(first)} each"
        numbers = ", ".join(str(device.index) for device in self.devices)
        return f"GPUs {numbers} ({torch.cuda.get_device_name(first)})"

    def provenance(self) -> dict[str, str]:
        """What is stored with a run that several ranks have trained."""
        if self.count == 1:
            return {}
        devices = ", ".join(map(str, self.devices))
        return {"ranks": str(self.count), "devices": devices, "device": self.name}

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def prepare(self, deterministic: bool) -> None:
        """Settle what training needs here, while the other ranks start."""
        self.start()
        prepare(self.devices[0], deterministic)

    def start(self) -> None:
        """Start the other ranks, unless they live; `join` waits for them."""
        if self.count == 1 or (self.peers and not any(one.over.is_set() for one in self.peers)):
            return
        self.end(at_once=True)
        self.handled = threading.Event()
        self.place = Path(tempfile.mkdtemp(prefix="dsd-ranks-"))
        self.peers = [self._peer(rank) for rank in range(1, self.count)]

    def join(self) -> Ranks:
        """This process's place among the ranks, all of which are there. Raises RankLost."""
        self.start()
        self.busy = False
        if self.count > 1 and self.ranks is ALONE:
            assert self.place is not None
            for other in self.peers:
                while not other.ready.wait(0.1):
                    if other.over.is_set():
                        raise other.cause()
            mine = Share(0, self.count)
            ranks = Ranks.join(mine, self.devices[0], self.place / "meeting", self.timeout_s)
            self.ranks = replace(ranks, begin=lambda index: self.tell({"epoch": index}))
        return self.ranks

    def introduce(
        self, session: Session, network: str, how: How, epochs: int, checkpoint: Checkpoint | None
    ) -> None:
        """Tell the others which network is trained, and after how many epochs it goes on."""
        if self.count == 1:
            return
        regime, chosen = session.step.regime, session.step.memory_format
        word: dict[str, Any] = {
            "network": network, "regime": regime.text, "regime_name": regime.name,
            "seed": session.seed, "images": session.dataset.fingerprint, "epochs": epochs,
            "how": asdict(replace(how, memory_format=chosen)),
        }  # fmt: skip
        if checkpoint and epochs:
            word |= {"checkpoint": str(checkpoint.path), "identity": dict(checkpoint.identity)}
        self.busy = True
        self.tell(word)

    def tell(self, word: dict[str, Any]) -> None:
        """Say something to every other rank. Raises RankLost, or what went wrong there."""
        for other in self.peers:
            try:
                other.hear(word)
            except OSError:
                other.over.wait(LOOK_S)
                raise other.cause() from None

    def cause(self, error: Exception) -> Exception:
        """What an error on this rank comes from: another rank's trouble, where that broke contact.

        RankLost where a rank was killed or does not answer; a rank's lack of memory is MemoryError.
        """
        self.handled.set()
        if not self.peers or not is_lost_contact(error):
            return error
        end = time.monotonic() + LOOK_S
        while time.monotonic() < end:
            guilty = [other for other in self.peers if other.over.is_set() and not other.echoes]
            if guilty:
                return guilty[0].cause()
            time.sleep(0.05)
        said = str(error).splitlines()[0]
        return RankLost(f"The ranks lost each other, or one does not answer: {said}")

    def end(self, at_once: bool = False) -> None:
        """Let the other ranks leave, or kill them; they are started again when they are needed."""
        self.handled.set()
        for other in self.peers:
            other.dismiss(at_once)
        if self.ranks is not ALONE:
            with contextlib.suppress(Exception):  # whatever state a broken group is in
                self.ranks.leave()
        deadline = time.monotonic() + LEAVE_S
        for other in self.peers:
            other.gone(deadline)
        self.peers, self.ranks = [], ALONE
        if self.place is not None:
            shutil.rmtree(self.place, ignore_errors=True)

    def _peer(self, rank: int) -> Peer:
        assert self.place is not None
        given = {
            "rank": rank, "count": self.count, "device": str(self.devices[rank]),
            "meeting": str(self.place / "meeting"), "folder": str(self.folder),
            "reader": self.reader,
            "timeout_s": self.timeout_s, "parent": os.getpid(),
        }  # fmt: skip
        return Peer.start(given, self.place / f"rank-{rank}.log", self._missed)

    def _missed(self) -> None:
        """See, when a rank has ended unasked, that this one does not wait for it for ever.

        Where the main thread hangs in the device (NCCL waits in a kernel), `give_up` is told
        the cause, and the process ends.
        """
        handled = self.handled
        if self.give_up is None or handled.wait(self.grace_s) or self.give_up is None:
            return
        ended = [one for one in self.peers if one.over.is_set()]
        self.give_up(min(ended, key=lambda one: one.echoes).cause())
        if self.place is not None:
            shutil.rmtree(self.place, ignore_errors=True)
        os._exit(1)

    @contextlib.contextmanager
    def watched(self, give_up: Callable[[Exception], None]) -> Iterator[None]:
        """Within, `give_up` is called where this process waits in vain for a rank that is gone."""
        self.give_up = give_up
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            self.end(at_once=True)
            raise
        finally:
            self.give_up = None
