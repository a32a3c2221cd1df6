"""How fast the fleet goes on, and when it is done: from little knowledge to much."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from dsd.regime import load_regime
from dsd.store import queue
from dsd.store.claims import Claim
from dsd.store.clock import now
from dsd.store.engine import Store, writing
from dsd.store.fleet import workers_at
from dsd.store.pace import pace
from dsd.store.populations import save_sample
from dsd.store.schema import Run
from dsd.store.steer import pause

EPOCHS = load_regime("fashion").train.epochs


def claimed(store: Store, owner: str, ago: float = 0.0, **given: Any) -> Claim:
    """A run in the owner's hands since so many seconds."""
    held = queue.claim(store, owner, **given)
    assert held
    with writing(store) as connection:
        since = update(Run).where(Run.id == held.run_id).values(started=now() - ago)
        connection.execute(since)
    return held


def ended(store: Store, owner: str, seconds: float, error: float = 30.0, **given: Any) -> None:
    held = claimed(store, owner, seconds, **given)
    assert queue.finish(store, held, error_last=error, error_lowest=error)


def test_nothing_is_estimated_before_an_epoch_has_ended(store: Store, draw: Any) -> None:
    save_sample(store, draw(6))
    empty = pace(store)
    assert (empty.ended, empty.total, empty.running, empty.best) == (0, 6, 0, None)
    assert (empty.images_per_s, empty.networks_per_hour, empty.eta_seconds) == (None,) * 3
    owner = queue.register_worker(store, "cuda")
    held = claimed(store, owner, ago=500.0)
    begun = pace(store)
    assert (begun.running, begun.networks_per_hour, begun.eta_seconds) == (1, None, None)
    epoch = {"epoch": 1, "seconds": 500.0, "images_per_s": 700.0, "train_loss": 1.25,
             "test_error": 40.0}  # fmt: skip
    assert queue.record_epoch(store, held, epoch)
    first = pace(store)
    assert first.networks_per_hour == pytest.approx(3600 / (500 * EPOCHS))
    assert first.eta_seconds == pytest.approx(6 * 500 * EPOCHS - 500, abs=60)
    assert first.images_per_s == 700.0
    (one,) = workers_at(store)
    assert (one.loss, one.error, one.epoch, one.epochs) == (1.25, 40.0, 1, EPOCHS)
    assert one.eta_seconds == pytest.approx(500 * (EPOCHS - 1), abs=60)


def test_each_kind_of_device_counts_with_what_networks_take_on_it(store: Store, draw: Any) -> None:
    save_sample(store, draw(12))
    fast, slow = (queue.register_worker(store, device) for device in ("H100", "CPU"))
    ended(store, fast, 1000.0, 31.0)
    ended(store, slow, 10000.0, 29.0)
    claimed(store, fast)
    assert pace(store).networks_per_hour == pytest.approx(3.6, rel=0.05)
    claimed(store, slow)
    both = pace(store)
    assert (both.ended, both.total, both.running, both.best) == (2, 12, 2, 29.0)
    assert both.networks_per_hour == pytest.approx(3.96, rel=0.05)
    # 8 queued and 2 at work, of which the slow worker's takes 10,000 s whatever the fast one does
    assert both.eta_seconds == pytest.approx(max(10 / (3.96 / 3600), 10000), rel=0.05)


def test_only_work_on_these_populations_counts(store: Store, draw: Any) -> None:
    save_sample(store, draw(4, "wide"))
    save_sample(store, draw(4, "narrow"))
    save_sample(store, draw(3, "held", stream="wide 0"))  # shares its networks with the first
    owner, other = (queue.register_worker(store, "cuda") for _ in "12")
    ended(store, owner, 1000.0, populations=[1])
    claimed(store, owner, populations=[1])
    claimed(store, other, populations=[2])
    assert (pace(store).total, pace(store).running) == (8, 2)
    narrow = pace(store, [2])
    assert (narrow.ended, narrow.total, narrow.running) == (0, 4, 1)
    assert narrow.networks_per_hour == pytest.approx(3.6, rel=0.05)
    assert narrow.eta_seconds == pytest.approx(4000, abs=60)
    assert pace(store, [3]).ended == 1, "a shared run counts for each that wants it"
    assert pace(store, [1, 3]).total == 4, "and once where both are asked for"
    pause(store, [2])
    assert pace(store, [2]).eta_seconds == pytest.approx(1000, abs=60), (
        "the held ones wait for no one"
    )


def test_a_worker_whose_lease_is_over_is_not_at_work(store: Store, draw: Any) -> None:
    save_sample(store, draw(3))
    owner = queue.register_worker(store, "cuda")
    ended(store, owner, 1000.0)
    claimed(store, owner, lease_s=-1)
    late = pace(store)
    assert (late.running, late.images_per_s, late.eta_seconds) == (0, None, None)
    claimed(store, queue.register_worker(store, "cuda"))
    assert pace(store).eta_seconds == pytest.approx(2000, abs=60)


def test_the_estimate_falls_as_networks_end(store: Store, draw: Any) -> None:
    save_sample(store, draw(8))
    owner = queue.register_worker(store, "cuda")
    seen = []
    for _ in range(7):
        ended(store, owner, 1000.0)
        held = claimed(store, owner)
        seen.append(pace(store).eta_seconds)
        assert queue.release(store, held)
    assert all(left is not None for left in seen)
    assert seen == sorted(seen, reverse=True)  # type: ignore[type-var]
    assert seen[-1] == pytest.approx(1000, abs=60)


def test_a_network_s_own_epochs_tell_when_it_ends_however_long_others_took(
    store: Store, draw: Any
) -> None:
    save_sample(store, draw(2))
    owner = queue.register_worker(store, "cuda")
    ended(store, owner, 1000.0)
    held = claimed(store, owner, ago=3000.0)  # a larger one: it should have ended long ago
    assert pace(store).eta_seconds == 0
    assert queue.record_epoch(store, held, {"epoch": 1, "seconds": 3000.0, "train_loss": 1.0})
    assert pace(store).eta_seconds == pytest.approx(3000 * (EPOCHS - 1), abs=60)
    for epoch in range(2, EPOCHS + 1):
        assert queue.record_epoch(store, held, {"epoch": epoch, "seconds": 3000.0})
    assert pace(store).eta_seconds == 0
