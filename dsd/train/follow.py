"""What a rank other than 0 does: it trains what rank 0 trains, on its own share of every batch.

Run as `python -m dsd.train.follow JSON` by `dsd.train.team`, which describes what is said.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import torch

from dsd.net.arch import Arch
from dsd.net.build import build
from dsd.regime import Regime
from dsd.train.checkpoint import Checkpoint
from dsd.train.data import Dataset, load
from dsd.train.ddp import Ranks, is_lost_contact
from dsd.train.device import prepare
from dsd.train.how import How
from dsd.train.loop import Diverged, Session, Stopped
from dsd.train.memory import is_out_of_memory
from dsd.train.share import Share
from dsd.train.stop import SIGNALS


def follow(given: dict[str, Any], say: Any) -> None:
    """Do what is read, a line of JSON a word, until there are no more."""
    device = torch.device(given["device"])
    prepare(device)
    say({"ready": given["rank"]})
    share = Share(given["rank"], given["count"])
    ranks = Ranks.join(share, device, Path(given["meeting"]), given["timeout_s"])
    loaded: dict[str, Dataset] = {}
    session: Session | None = None
    for line in sys.stdin:
        word = json.loads(line)
        if "epoch" not in word:
            session = None  # its memory is the next one's
            session = taken_up(word, given, loaded, ranks)
            continue
        assert session is not None
        with contextlib.suppress(Diverged, Stopped):  # rank 0 raises the same
            session.epoch(word["epoch"])
    ranks.leave()


def taken_up(
    word: dict[str, Any], given: dict[str, Any], loaded: dict[str, Dataset], ranks: Ranks
) -> Session:
    """The network that rank 0 has taken up (`Team.introduce`), as far as it is trained there."""
    regime = Regime.from_text(word["regime"], word["regime_name"])
    if regime.digest not in loaded:
        loaded[regime.digest] = load(regime, Path(given["folder"]), ranks.device, given["reader"])
    dataset = loaded[regime.digest]
    if dataset.fingerprint != word["images"]:
        raise RuntimeError(f"the images changed: {dataset.fingerprint}, not {word['images']}")
    how = How(**word["how"])
    if how.deterministic:
        prepare(ranks.device, how.deterministic)
    torch.manual_seed(word["seed"])
    model = build(Arch.from_json(word["network"]))
    session = Session.start(model, regime, dataset, ranks.device, word["seed"], lambda: False,
                            how, lambda line: None, ranks)  # fmt: skip
    if word["epochs"]:
        checkpoint = Checkpoint(Path(word["checkpoint"]), word["identity"], lambda line: None)
        kept = checkpoint.read()
        if kept is None or len(kept.epochs) != word["epochs"]:
            raise RuntimeError(f"the checkpoint {word['checkpoint']} changed")
        kept.put_into(session)
    return session


def main() -> None:
    """Follow rank 0. Whatever goes wrong is said to it, and ends the process."""
    given = json.loads(sys.argv[1])
    for number in SIGNALS:  # rank 0's to hear
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(
        target=_leave_with, args=(given["parent"], Path(given["meeting"]).parent), daemon=True
    ).start()
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no report

    def say(word: dict[str, Any]) -> None:
        reports.write(json.dumps(word) + "\n")
        reports.flush()

    try:
        follow(given, say)
    except Exception as error:
        lines = str(error).splitlines() or [""]
        with contextlib.suppress(OSError):
            say({"message": f"{type(error).__name__}: {lines[0]}", "lost": is_lost_contact(error),
                 "memory": is_out_of_memory(error), "trace": traceback.format_exc()})  # fmt: skip
        sys.stderr.flush()
        _tidy(given)
        os._exit(1)  # a group that broke is not to be ended in good order
    _tidy(given)
    os._exit(0)  # nothing is left to do: seconds of tidying are spared


def _tidy(given: dict[str, Any]) -> None:
    """Remove what rank 0 has left behind, if it is gone: the system may take a moment to say so."""
    end = time.monotonic() + 0.5
    while os.getppid() == given["parent"]:
        if time.monotonic() > end:
            return
        time.sleep(0.05)
    shutil.rmtree(Path(given["meeting"]).parent, ignore_errors=True)


def _leave_with(parent: int, place: Path) -> None:
    """End this process, wherever it hangs, once rank 0 is gone."""
    while os.getppid() == parent:
        time.sleep(1.0)
    shutil.rmtree(place, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main()
