"""One copy of a dataset on a GPU for all worker processes that train there.

Whoever watches the workers holds it. A worker asks through a private Unix socket and is sent the
tensors themselves: of a GPU's memory a handle (CUDA IPC), of the CPU's a descriptor of shared
memory. They are valid as long as their holder lives.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

import torch
import torch.multiprocessing

from dsd.errors import DsdError
from dsd.regime import Regime
from dsd.train.data import Dataset, load
from dsd.train.images import Images
from dsd.train.mapped import Mapped

SOCKET, KEY = "DSD_HOLDER", "DSD_HOLDER_KEY"  # environment variables; the key is the user's alone
Answer = Dataset | DsdError | None


@dataclass(frozen=True)
class Holder:
    """Loads each regime's dataset once, in whichever thread first asks."""

    folder: Path
    device: torch.device
    held: dict[str, Answer] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, name: str, text: str) -> Answer:
        """The dataset; None where it lies in files that every process reads by itself."""
        regime = Regime.from_text(text, name)
        with self.lock:
            if regime.digest not in self.held:
                self.held[regime.digest] = self._loaded(regime)
            return self.held[regime.digest]

    def _loaded(self, regime: Regime) -> Answer:
        try:
            dataset = load(regime, self.folder, self.device)
        except DsdError as error:
            return error
        except Exception as error:
            return DsdError(f"The images of regime '{regime.name}' cannot be held: {error}")
        return dataset if lies_on(dataset, self.device) else None

    def serve(self, listener: Listener) -> None:
        """Accept workers until the listener is closed."""
        while True:
            try:
                connection = listener.accept()
            except (multiprocessing.AuthenticationError, EOFError, ConnectionError):
                continue
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: Connection) -> None:
        with connection, contextlib.suppress(EOFError, OSError):
            while True:
                connection.send(self.answer(*connection.recv()))


@contextmanager
def holding(folder: Path, device: torch.device) -> Iterator[dict[str, str]]:
    """Hold datasets for the processes that are started with what this adds to the environment."""
    key = secrets.token_bytes(32)
    multiprocessing.current_process().authkey = key  # descriptors travel under it, too
    with tempfile.TemporaryDirectory(prefix="dsd-holder-") as place:
        socket = str(Path(place) / "socket")
        with Listener(socket, "AF_UNIX", backlog=64, authkey=key) as listener:
            holder = Holder(folder, device)
            threading.Thread(target=holder.serve, args=(listener,), daemon=True).start()
            yield {SOCKET: socket, KEY: key.hex()}


@dataclass(frozen=True)
class Lent:
    """A worker's side: datasets that another process holds."""

    connection: Connection
    lost: threading.Event

    def load(
        self, regime: Regime, folder: Path, device: torch.device, reader: str = "torchvision"
    ) -> Dataset:
        """As `data.load`, with the images where the holder has them. Raises what it met."""
        try:
            self.connection.send((regime.name, regime.text))
            answer: Answer = self.connection.recv()
        except (EOFError, OSError) as error:
            self.lost.set()
            raise HolderGone("The process that holds the images is gone.") from error
        if isinstance(answer, DsdError):
            raise answer
        return answer or load(regime, folder, device, reader, hold=False)


class HolderGone(DsdError):
    """The images are no longer to be relied on."""


def borrowed(environment: Mapping[str, str], leave: Callable[[], None]) -> Lent | None:
    """What the holder named in the environment lends, if one is; `leave` is called when it is gone.

    Raises HolderGone.
    """
    if SOCKET not in environment:
        return None
    key = bytes.fromhex(environment[KEY])
    multiprocessing.current_process().authkey = key
    try:
        asking, watching = (Client(environment[SOCKET], "AF_UNIX", key) for _ in range(2))
    except (OSError, EOFError) as error:
        raise HolderGone(f"Nobody holds the images any more: {error}") from error
    lent = Lent(asking, threading.Event())

    def watch() -> None:
        with contextlib.suppress(EOFError, OSError):
            watching.recv()  # nothing is ever sent: this returns when the holder has gone
        lent.lost.set()
        leave()

    threading.Thread(target=watch, name="holder", daemon=True).start()
    return lent


def lies_on(dataset: Dataset, device: torch.device) -> bool:
    """Whether all its pixels are in the device's memory."""
    splits = (dataset.train, dataset.test)
    return all(isinstance(s, Images | Mapped) and s.pixels.device == device for s in splits)
