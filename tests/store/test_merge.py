"""Two databases become one: nothing is lost, nothing counts twice, and twice changes nothing."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from dsd.errors import DsdError
from dsd.regime import Regime
from dsd.store import queue, steer
from dsd.store.clock import now
from dsd.store.engine import Store, open_store, reading, writing
from dsd.store.external import External, ExternalRow
from dsd.store.imports import import_sizes, save_import
from dsd.store.integrity import check
from dsd.store.merge import merge
from dsd.store.notes import add_note, add_tags, find_subject
from dsd.store.populations import save_sample
from dsd.store.results import frame
from dsd.store.runs import one_run
from dsd.store.schema import Base, Run
from tests.store.conftest import make_sample

SCORED = ("done", "diverged")


@pytest.fixture
def other(quick_folder: Path, sqlite_template: Path) -> Any:
    """Another database, on another machine as it were."""
    folder = tempfile.mkdtemp(dir=quick_folder)
    opened = open_store(str(shutil.copy(sqlite_template, Path(folder) / "other.db")))
    yield opened
    opened.close()


def train(store: Store, runs: int, error: float = 0.0, state: str = "done") -> None:
    owner = queue.register_worker(store, "cpu")
    for _ in range(runs):
        held = queue.claim(store, owner)
        assert held is not None
        wrong = error or int(held.digest[:4], 16) / 1000
        queue.record_epoch(store, held, {"epoch": 1, "test_error": wrong})
        queue.finish(store, held, state=state, error_last=wrong, error_lowest=wrong)


def results(store: Store) -> dict[tuple[str, int, str], float]:
    table = frame(store)
    scored = table[table["state"].isin(SCORED)]
    keys = zip(scored.population, scored.ordinal, scored.digest, strict=True)
    return dict(zip(keys, scored.error_last, strict=True))


def contents(store: Store) -> dict[str, int]:
    with reading(store) as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in Base.metadata.sorted_tables
        }


def is_whole(store: Store) -> bool:
    return all(not wrong for _, wrong in check(store))


def test_everything_comes_along_once(store: Store, other: Store, draw: Any):
    save_sample(store, draw(2, "one", stream="same"))
    train(store, 1)
    save_sample(other, draw(4, "one", stream="same"))
    save_sample(other, draw(2, "two"))
    train(other, 3)
    run = find_subject(other, str(frame(other)["run"][1]))
    add_note(other, run, "odd curve", "ann")
    add_tags(other, run, ["odd"])
    steer.pause(other)
    save_import(other, External("x", "here", "csv", "x.csv", "d", (ExternalRow(1.0, 1.0, {}),), {}))
    expected = results(store) | results(other)
    untouched = contents(other)
    seen = merge(store, other, dry_run=True)
    assert results(store) != expected
    first = merge(store, other)
    assert first == seen
    assert results(store) == expected
    assert frame(store)["population"].value_counts().to_dict() == {
        "one@fashion#0": 4, "two@fashion#0": 2,
    }  # fmt: skip
    assert import_sizes(store) == {"x": ("here", 1)}
    (tagged,) = [r for r in frame(store)["run"] if one_run(store, int(r))["tags"] == ["odd"]]
    assert one_run(store, int(tagged))["notes"][0]["text"] == "odd curve"
    assert len(one_run(store, int(tagged))["epochs"]) == 1
    whole = contents(store)
    again = merge(store, other)
    assert not any(again.added.values())
    assert again.kept_apart == 0
    assert contents(store) == whole
    assert contents(other) == untouched
    assert is_whole(store)


def test_of_two_results_ours_counts_and_theirs_is_kept(store: Store, other: Store, draw: Any):
    for one, error in ((store, 10.0), (other, 20.0)):
        save_sample(one, draw(1))
        train(one, 1, error)
    assert merge(store, other).kept_apart == 1
    assert merge(store, other).kept_apart == 0
    run = one_run(store, int(frame(store)["run"][0]))
    assert run["error_last"] == 10.0
    assert [late["result"]["error_last"] for late in run["late_results"]] == [20.0]


def test_a_result_there_ends_what_runs_here(store: Store, other: Store, draw: Any):
    for one in (store, other):
        save_sample(one, draw(1))
    held = queue.claim(store, queue.register_worker(store, "cpu"))
    assert held
    queue.record_epoch(store, held, {"epoch": 1, "test_error": 99.0})
    train(other, 1, 20.0)
    merge(store, other)
    assert not queue.beat(store, held)
    assert not queue.finish(store, held, error_last=1.0, error_lowest=1.0)
    run = one_run(store, held.run_id)
    assert (run["state"], run["error_last"]) == ("done", 20.0)
    assert [(e["attempt"], e["test_error"]) for e in run["epochs"]] == [(1, 99.0), (2, 20.0)]


def test_a_claim_there_is_none_here(store: Store, other: Store, draw: Any):
    save_sample(other, draw(2))
    owner = queue.register_worker(other, "cpu")
    queue.claim(other, owner)
    failed = queue.claim(other, owner)
    assert failed
    queue.fail(other, failed, message="crash")
    merge(store, other)
    assert frame(store)["state"].tolist() == ["queued", "failed"]
    assert queue.claim(store, queue.register_worker(store, "cpu"))
    assert is_whole(store)


@pytest.mark.parametrize("kind", ["space", "regime", "draw", "import"])
def test_what_contradicts_is_refused_and_nothing_changes(
    store: Store, other: Store, draw: Any, kind: str, small_regime: Regime
):
    save_sample(store, draw(2))
    sample = draw(2, stream="another" if kind == "draw" else "")
    if kind == "space":
        sample.space.digest = "0" * 16
    if kind == "regime":
        sample.regime = small_regime
    if kind == "import":
        for one, digest in ((store, "a"), (other, "b")):
            row = (ExternalRow(1.0, 1.0, {}),)
            save_import(one, External("x", "here", "csv", "x.csv", digest, row, {}))
    save_sample(other, sample)
    before = contents(store)
    with pytest.raises(DsdError):
        merge(store, other)
    assert contents(store) == before


@pytest.fixture
def small_regime() -> Regime:
    """Another meaning under the name that `make_sample` uses."""
    from dataclasses import replace

    from dsd.regime import load_regime

    return replace(load_regime("fashion"), resolution=14)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6))
def test_merging_either_way_gives_the_same_results(sqlite_template: Path, seed: int):
    with tempfile.TemporaryDirectory(dir=sqlite_template.parent) as folder:
        pair = [_history(sqlite_template, folder, name, seed) for name in ("a", "b")]
        a, b = (open_store(path) for path in pair)
        copy_a, copy_b = (open_store(str(shutil.copy(p, f"{p}.copy"))) for p in pair)
        trained = {key[2]: error for key, error in (results(a) | results(b)).items()}
        merge(a, copy_b)
        merge(b, copy_a)
        assert results(a) == results(b)
        for one in (a, b):
            assert {key[2]: error for key, error in results(one).items()} == trained
            assert is_whole(one)
            assert not any(merge(one, copy_a).added.values())
            assert not any(merge(one, copy_b).added.values())
        for one in (a, b, copy_a, copy_b):
            one.close()


def _history(template: Path, folder: str, name: str, seed: int) -> str:
    """A database in which some networks were sampled, trained, lost, cancelled and paused."""
    rng = random.Random(f"{name} {seed}")
    path = str(shutil.copy(template, f"{folder}/{name}.db"))
    store = open_store(path)
    owner = queue.register_worker(store, "cpu")
    for _ in range(rng.randint(1, 12)):
        act = rng.choice(["sample", "train", "train", "claim", "lapse", "fail", "cancel", "pause"])
        if act == "sample" or not len(frame(store)):
            save_sample(store, make_sample(rng.randint(1, 5), rng.choice("xy"), stream="same"))
        elif act == "train" and queue.pending(store):
            if any(frame(store)["state"] == "queued"):
                try_train(store)
        elif act in ("claim", "fail"):
            held = queue.claim(store, owner)
            if held and act == "fail":
                queue.fail(store, held, message="crash")
        elif act == "lapse":
            with writing(store) as connection:
                late = update(Run).where(Run.state == "running")
                connection.execute(late.values(lease_until=now() - 1))
        elif act == "cancel":
            steer.cancel(store, frame(store)["run"].tolist()[:1])
        elif act == "pause":
            rng.choice([steer.pause, steer.resume])(store, [1])
    store.close()
    return path


def try_train(store: Store) -> None:
    owner = queue.register_worker(store, "cpu")
    held = queue.claim(store, owner)
    if held:
        error = int(held.digest[:4], 16) / 1000
        queue.record_epoch(store, held, {"epoch": 1, "test_error": error})
        queue.finish(store, held, error_last=error, error_lowest=error)
