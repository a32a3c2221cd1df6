"""An interrupted training ends as its uninterrupted twin, to the bit."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import select

from dsd.net.build import build
from dsd.regime import Regime
from dsd.store.engine import Store, open_store, reading
from dsd.store.results import frame
from dsd.store.schema import Epoch, Run
from dsd.store.steer import cancel
from dsd.train import checkpoint as module
from dsd.train.checkpoint import Checkpoint, Unusable
from dsd.train.data import load
from dsd.train.events import Event as Told
from dsd.train.events import aloud
from dsd.train.how import How
from dsd.train.loop import Session
from dsd.train.seeds import run_seed
from dsd.train.stop import Stop
from dsd.train.worker import work
from tests.train.conftest import fill, make_regime, small_arch

CPU = torch.device("cpu")
SAME = ("epoch", "train_loss", "train_error", "test_error", "test_error5", "lr")
REGIME = make_regime(
    train={"epochs": 5, "batch": 500, "precise_bn_images": 1000},
    augment={"crop": "pad", "pad": 2},
)
AVERAGED = make_regime(
    train={"epochs": 5, "batch": 500, "ema": 0.9, "warmup_epochs": 1.0, "bn_weight_decay": False},
    augment={"crop": "pad", "pad": 2},
)
WORKER = """
import sys; from pathlib import Path; import torch
from dsd.store.engine import open_store
from dsd.train import checkpoint
from dsd.train.worker import work
checkpoint.EVERY_S = 0
work(open_store(sys.argv[1]), folder=Path("."), device=torch.device("cpu"),
     checkpoints=Path(sys.argv[2]), exit_when_empty=True)
"""


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.0)


def session(regime: Regime = REGIME, how: How | None = None) -> Session:
    torch.manual_seed(1)
    model = build(small_arch(8))
    data = load(regime, Path("."), CPU)
    return Session.start(model, regime, data, CPU, 3, lambda: False, how or How())


def checkpoint(folder: Path, said: Any) -> Checkpoint:
    return Checkpoint.of(folder, "net", "regime", 3, said.say)


def facts(epochs: list[Any]) -> list[dict[str, Any]]:
    return [{key: asdict(epoch)[key] for key in SAME} for epoch in epochs]


@pytest.mark.parametrize("regime", [REGIME, AVERAGED], ids=["plain", "averaged"])
def test_a_restored_session_ends_as_its_twin_to_the_bit(tmp_path, said, regime):
    twin = session(regime)
    whole = list(twin.epochs())
    first = session(regime)
    part = [first.epoch(0), first.epoch(1)]
    checkpoint(tmp_path / "new", said).save(first, part)
    second = session(regime)
    kept = checkpoint(tmp_path / "new", said).read()
    assert kept
    assert kept.epochs == part
    assert kept.memory_format(CPU) == "channels_last"
    assert kept.memory_format(torch.device("cuda:0")) == "", "that is another question there"
    kept.put_into(second)
    assert facts(list(second.epochs(kept.epochs))) == facts(whole)
    for ours, theirs in ((twin.model, second.model), (twin.tested, second.tested)):
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name
    assert not said.lines


def test_a_file_written_before_there_was_an_average_serves_where_none_is_asked_for(tmp_path, said):
    first, kept = session(), checkpoint(tmp_path, said)
    part = [first.epoch(0)]
    optimizer = torch.optim.SGD(first.model.parameters(), 0.1, 0.9, nesterov=True, fused=True)
    optimizer.load_state_dict(first.optimizer.state_dict())  # one group, in the model's order
    old = {"identity": {"network": "net", "regime": "regime", "seed": 3, "format": 1},
           "epochs": [asdict(epoch) for epoch in part], "model": first.model.state_dict(),
           "optimizer": optimizer.state_dict()}  # fmt: skip
    torch.save(old, kept.path)
    second = session()
    read = kept.read()
    assert read
    read.put_into(second)
    assert read.epochs == part
    assert facts([second.epoch(1)]) == facts([first.epoch(1)])
    with pytest.raises(Unusable):
        read.put_into(session(AVERAGED))


@pytest.mark.parametrize("spoil", ["short", "empty", "other", "text", "bit"])
def test_a_file_that_is_of_no_use_is_said(tmp_path, said, spoil):
    saved, path = session(), checkpoint(tmp_path, said).path
    owner = Checkpoint.of(tmp_path, "net", "regime", 3 + (spoil == "other"), said.say)
    owner.save(saved, [saved.epoch(0)])
    if spoil == "other":
        owner.path.rename(path)
    elif spoil == "short":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif spoil == "bit":  # of a weight, which torch would load without a word
        damage(path, next(saved.model.parameters()))
    else:
        path.write_bytes(b"" if spoil == "empty" else b"hello")
    assert checkpoint(tmp_path, said).read() is None
    assert "Starting anew" in said.lines[0]


def damage(path: Path, weights: torch.Tensor) -> None:
    """Turn one bit over in the stored bytes of these weights."""
    data = bytearray(path.read_bytes())
    stored = torch.empty(0).set_(weights.detach().untyped_storage()).numpy().tobytes()
    data[data.index(stored) + 3] ^= 4
    path.write_bytes(data)


def test_damaged_structure_is_of_no_use_either(tmp_path, said):
    own, saved = checkpoint(tmp_path, said), session()
    own.save(saved, [saved.epoch(0)])
    state = torch.load(own.path, weights_only=True)
    for wrong in ([], {}, {**state, "epochs": 3}):
        torch.save(wrong, own.path)
        assert own.read() is None, wrong
    torch.save({**state, "model": [], "optimizer": []}, own.path)
    kept = own.read()
    assert kept
    with pytest.raises(Unusable):
        kept.put_into(session())


def test_momentum_is_laid_out_as_the_weights_are(tmp_path, said):
    saved, own = session(), checkpoint(tmp_path, said)
    own.save(saved, [saved.epoch(0)])
    kept = own.read()
    assert kept
    rest = session(how=How(memory_format="contiguous"))
    kept.put_into(rest)
    for weight, state in rest.optimizer.state.items():
        assert state["momentum_buffer"].stride() == weight.stride()
    assert [epoch.epoch for epoch in rest.epochs(kept.epochs)] == [1, 2, 3, 4, 5]


def test_weights_that_do_not_fit_are_told_apart(tmp_path, said):
    saved = session()
    own = checkpoint(tmp_path, said)
    own.save(saved, [saved.epoch(0)])
    state = torch.load(own.path, weights_only=True)
    state["model"].popitem()
    torch.save(state, own.path)
    kept = own.read()
    assert kept
    with pytest.raises(Unusable):
        kept.put_into(session())


def test_a_full_disk_is_said_in_the_system_s_words(tmp_path, said):
    one = session()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        checkpoint(tmp_path, said).save(one, [], at_once=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert said.lines == [f"No checkpoint written to {tmp_path}: [Errno 27] File too large"]
    assert not list(tmp_path.iterdir())


def test_no_more_is_written_than_every_so_often(tmp_path, said, monkeypatch):
    monkeypatch.setattr(module, "EVERY_S", 60.0)
    kept, one = checkpoint(tmp_path, said), session()
    kept.save(one, [])
    assert not kept.path.exists()
    kept.save(one, [], at_once=True)
    assert kept.path.exists()


def finish(store: Store, folder: Path, said: Any, **given: Any) -> int:
    hear = aloud(said.say)
    settings = {"folder": Path("."), "device": CPU, "exit_when_empty": True, "hear": hear}
    return work(store, checkpoints=folder, **{**settings, **given})


def twin_of(tmp_path: Path, said: Any, regime: Regime = REGIME) -> dict[str, Any]:
    store = open_store(str(tmp_path / "twin.db"))
    fill(store, [small_arch(8)], regime)
    finish(store, tmp_path / "unused", said)
    return outcome(store)


def outcome(store: Store) -> dict[str, Any]:
    """What counts of the first run: its errors, and the curve of its last attempt."""
    columns = [getattr(Epoch, key) for key in SAME]
    with reading(store) as connection:
        run = connection.execute(select(Run)).first()
        assert run is not None
        mine = (Epoch.run_id == run.id, Epoch.attempt == run.attempts)
        curve = connection.execute(select(*columns).where(*mine).order_by(Epoch.epoch)).all()
    return {"state": run.state, "error": run.error_last, "low": run.error_lowest, "curve": curve}


class AfterEpochs(Stop):
    """Asks to leave, after the epoch, once so many epochs are recorded."""

    def __init__(self, store: Store, count: int) -> None:
        super().__init__()
        self.store, self.count = store, count

    def is_set(self) -> bool:
        with reading(self.store) as connection:
            return len(connection.execute(select(Epoch.epoch)).all()) >= self.count


def test_leaving_after_an_epoch_keeps_it_and_the_next_worker_goes_on(store, tmp_path, said):
    fill(store, [small_arch(8)], REGIME)
    kept = tmp_path / "checkpoints"
    assert finish(store, kept, said, stop=AfterEpochs(store, 2)) == 0
    assert frame(store).state.tolist() == ["queued"]
    (file,) = kept.glob("*.pt")
    (kept / f"{file.name}.4711.partial").write_bytes(b"left by a killed worker")
    assert finish(store, kept, said) == 1
    assert "hand, network 0: goes on after epoch 2" in said.lines
    assert not list(kept.glob("*")), "a run that has ended needs no checkpoint"
    assert outcome(store) == twin_of(tmp_path, said)


def test_who_lost_the_run_leaves_its_new_owner_s_checkpoint(store, tmp_path, said):
    regime = make_regime(train={"epochs": 1, "batch": 500})
    fill(store, [small_arch(8)], regime)
    seed = run_seed(0, small_arch(8).digest, regime.digest)
    theirs = Checkpoint.of(tmp_path, small_arch(8).digest, regime.digest, seed, said.say).path

    def lose(event: Told) -> None:
        if event.name == "epoch":  # the last one: the result is still to be recorded
            cancel(store, [1])
            theirs.write_bytes(b"another worker's")

    assert finish(store, tmp_path, said, hear=lose) == 0
    assert theirs.exists()


def test_a_spoilt_checkpoint_costs_time_only(store, tmp_path, said):
    fill(store, [small_arch(8)], REGIME)
    kept = tmp_path / "checkpoints"
    finish(store, kept, said, stop=AfterEpochs(store, 2))
    (file,) = kept.glob("*.pt")
    file.write_bytes(file.read_bytes()[:1000])
    assert finish(store, kept, said) == 1
    assert any("Starting anew" in line for line in said.lines)
    assert outcome(store) == twin_of(tmp_path, said)


def test_where_no_checkpoint_can_be_written_training_goes_on(store, tmp_path, said):
    fill(store, [small_arch(8)], REGIME)
    (tmp_path / "file").write_text("")
    assert finish(store, tmp_path / "file" / "checkpoints", said) == 1
    assert any("No checkpoint written" in line for line in said.lines)
    assert frame(store).state.tolist() == ["done"]


def killed_and_taken_up(
    folder: Path, said: Any, rng: random.Random, regime: Regime = REGIME
) -> tuple[Any, bool]:
    """A worker killed at a random moment and its successor: the outcome, and if it went on."""
    store = open_store(str(folder / "dsd.db"))
    fill(store, [small_arch(8)], regime)
    given = [str(store.url.database), str(folder / "checkpoints")]
    worker = subprocess.Popen([sys.executable, "-c", WORKER, *given], stdout=subprocess.DEVNULL)
    while frame(store).state.tolist() == ["queued"]:
        time.sleep(0.01)
    time.sleep(rng.uniform(0.0, 1.5))
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    said.lines.clear()
    finish(store, folder / "checkpoints", said)
    return outcome(store), any("goes on after" in line for line in said.lines)


def test_a_killed_training_ends_as_its_twin(tmp_path, said):
    found, _ = killed_and_taken_up(tmp_path, said, random.Random(1))
    assert found == twin_of(tmp_path, said)


@pytest.mark.slow
def test_a_killed_training_with_averaged_weights_ends_as_its_twin(tmp_path, said):
    found, _ = killed_and_taken_up(tmp_path, said, random.Random(3), AVERAGED)
    assert found == twin_of(tmp_path, said, AVERAGED)


@pytest.mark.slow
def test_twenty_killed_trainings_end_as_their_twin(tmp_path, said):
    twin, rng, resumed = twin_of(tmp_path, said), random.Random(2), 0
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        found, went_on = killed_and_taken_up(folder, said, rng)
        assert found == twin, number
        resumed += went_on
    assert resumed >= 3, "the kills came too early to test a resumption"
