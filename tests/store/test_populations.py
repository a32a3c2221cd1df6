"""Samples in, populations out: nothing twice, nothing that changes its meaning."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from dsd.errors import DsdError, UsageError
from dsd.regime import load_regime
from dsd.store import queue
from dsd.store.engine import Store, open_store, reading
from dsd.store.populations import Saved, parse_reference, populations, resolve, save_sample
from dsd.store.results import frame
from dsd.store.schema import Network, Population, Run


def test_asking_again_adds_nothing_and_asking_for_more_adds_the_rest(
    store: Store, draw: Any
) -> None:
    assert save_sample(store, draw(5)) == Saved(added=5, known=0, reused=0, size=5)
    assert save_sample(store, draw(5)) == Saved(added=0, known=5, reused=0, size=5)
    assert save_sample(store, draw(8)) == Saved(added=3, known=5, reused=0, size=8)
    assert save_sample(store, draw(2)) == Saved(added=0, known=2, reused=0, size=8)
    table = frame(store)
    assert list(table["digest"]) == [arch.digest for arch in draw(8).archs]
    assert list(table["ordinal"]) == list(range(8))
    assert queue.pending(store) == 8
    with reading(store) as connection:
        assert connection.execute(select(Population.tally)).scalar_one()["candidates"] == 56


def test_a_network_of_two_spaces_is_stored_and_queued_once(store: Store, draw: Any) -> None:
    save_sample(store, draw(4, "one", stream="same"))
    assert save_sample(store, draw(6, "two", stream="same")) == Saved(6, 0, reused=4, size=6)
    assert save_sample(store, draw(6, "two", stream="same")) == Saved(0, 6, reused=0, size=6)
    with reading(store) as connection:
        assert len(connection.execute(select(Network.digest)).all()) == 6
        assert len(connection.execute(select(Run.id)).all()) == 6


def test_another_seed_and_another_regime_have_runs_of_their_own(store: Store, draw: Any) -> None:
    other = replace(load_regime("fashion"), name="longer", resolution=40)
    for sample in (
        draw(3, stream="x"),
        draw(3, stream="x", seed=1),
        draw(3, stream="x", regime=other),
    ):
        assert save_sample(store, sample) == Saved(added=3, known=0, reused=0, size=3)
    assert queue.pending(store) == 9


def test_a_shared_run_takes_the_better_of_its_places(store: Store, draw: Any) -> None:
    save_sample(store, draw(4, "one", stream="same"))
    last_first = draw(4, "two", stream="same")
    last_first.archs = last_first.archs[::-1]
    save_sample(store, last_first, priority=1)
    owner = queue.register_worker(store, "cpu")
    labels = [getattr(queue.claim(store, owner), "label", None) for _ in range(4)]
    assert labels == ["one, network 0", "two, network 0", "one, network 1", "two, network 1"]


def test_a_higher_priority_lifts_what_waits_a_lower_one_does_not_sink_it(
    store: Store, draw: Any
) -> None:
    save_sample(store, draw(2, "one"))
    save_sample(store, draw(2, "two"))
    save_sample(store, draw(2, "two"), priority=3)
    save_sample(store, draw(2, "two"), priority=-3)
    owner = queue.register_worker(store, "cpu")
    labels = [getattr(queue.claim(store, owner), "label", None) for _ in range(3)]
    assert labels == ["two, network 0", "two, network 1", "one, network 0"]


def test_a_name_never_changes_its_meaning(store: Store, draw: Any) -> None:
    save_sample(store, draw(2))
    changed = draw(2, seed=1)
    changed.space.digest = "0" * 16
    with pytest.raises(DsdError, match="The space 'wide' has changed"):
        save_sample(store, changed)
    regime = replace(load_regime("fashion"), resolution=48)
    with pytest.raises(DsdError, match="The regime 'fashion' has changed"):
        save_sample(store, draw(2, seed=1, regime=regime))
    twin = replace(load_regime("fashion"), name="twin")
    with pytest.raises(DsdError, match="use --regime fashion"):
        save_sample(store, draw(2, "fresh", regime=twin))
    with pytest.raises(DsdError, match="another network #0 than this draw"):
        save_sample(store, draw(3, stream="drawn differently"))
    assert [(p.name, p.size) for p in populations(store)] == [("wide@fashion#0", 2)]
    with reading(store) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM spaces").scalar() == 1


def test_references_are_read(store: Store) -> None:
    assert parse_reference("anynetx_d") == ("anynetx_d", None, None)
    assert parse_reference("anynetx_d@fashion") == ("anynetx_d", "fashion", None)
    assert parse_reference("anynetx_d@fashion#7") == ("anynetx_d", "fashion", 7)
    assert parse_reference("anynetx_d#7") == ("anynetx_d", None, 7)
    for wrong in ("", "@fashion", "a@", "a#", "a#x", "a@b@c", "a b", "a#-1"):
        with pytest.raises(UsageError, match="space\\[@regime\\]\\[#seed\\]"):
            parse_reference(wrong)


def test_references_find_populations_or_say_what_there_is(store: Store, draw: Any) -> None:
    other = replace(load_regime("fashion"), name="longer", resolution=40)
    for sample in (draw(1), draw(2, seed=7), draw(3, regime=other), draw(4, "narrow")):
        save_sample(store, sample)

    def names(reference: str, default: str | None = "fashion") -> list[tuple[str, int]]:
        return [(p.name, p.size) for p in resolve(store, reference, default)]

    assert names("wide") == [("wide@fashion#0", 1), ("wide@fashion#7", 2)]
    assert names("wide#7") == [("wide@fashion#7", 2)]
    assert names("wide@longer") == names("wide", "longer") == [("wide@longer#0", 3)]
    assert len(names("wide", None)) == 3
    for reference, said in {
        "wyde": r"of wyde. Did you mean 'wide'\?$",
        "regnetx": r"of regnetx. .*wide. `dsd sample regnetx --n 500 --regime fashion` makes",
        "wide@cifar10": r"no population wide@cifar10; there is wide@fashion, wide@longer. `dsd ",
        "wide#3": r"no population wide@fashion#3; its seeds: 0, 7. `dsd sample wide .*--seed 3`",
    }.items():
        with pytest.raises(DsdError, match=said):
            names(reference)


def test_saving_is_fast(sqlite_url: str, draw: Any) -> None:
    store, sample = open_store(sqlite_url), draw(500)
    assert [arch.digest for arch in sample.archs]
    before = time.process_time()
    save_sample(store, sample)
    assert time.process_time() - before < 2, "a query for each network takes longer"


@pytest.mark.timeout(60)
def test_thousands_of_networks_are_stored_in_seconds(postgresql_url: str, draw: Any) -> None:
    """A server that has not counted its rows yet took minutes to find which ones are held."""
    store = open_store(postgresql_url)
    assert save_sample(store, draw(2500)).added == 2500
    store.close()
