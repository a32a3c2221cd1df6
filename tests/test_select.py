"""The second stage: what is chosen, how its repeats differ, never mixed with samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

import dsd
from dsd.errors import DsdError, UsageError
from dsd.lab import Lab
from dsd.regime import load_regime
from dsd.select import best_of, enqueue, named_selection, of_runs
from dsd.space.networks import published_network
from dsd.space.selection import Selection, published_selection, repeats_of
from dsd.store import queue
from dsd.store.engine import open_store, writing
from dsd.store.merge import merge
from dsd.store.schema import Run
from dsd.study import Question, study_of

LONGER = 'extends = "fashion"\ntrain.epochs = 8\nresolution = 64\n'


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: Any) -> Lab:
    """Eight scored networks of regnetx and, under another regime, none; two have equal errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "regimes").mkdir()
    (tmp_path / "regimes" / "longer.toml").write_text(LONGER)
    lab = dsd.open("dsd.db", regime="fashion")
    lab.sample("regnetx", 8)
    with writing(lab.store) as connection:
        for run, error in enumerate([30.0, 25.0, 40.0, 25.0, 90.0, 28.0, 27.0, 26.0], 1):
            state = "diverged" if error == 90 else "done"
            values = {"state": state, "error_last": error, "error_lowest": 100 - error}
            connection.execute(update(Run).where(Run.id == run).values(**values))
    return lab


def ordinals(lab: Lab, selection: Selection) -> list[int]:
    table = lab.population("regnetx@fashion").frame.set_index("digest")
    return [int(table.ordinal[arch.digest]) for arch in selection.archs]


def test_the_best_are_chosen_ties_in_sampling_order(lab: Lab) -> None:
    selection, waiting = best_of(lab, "regnetx", 4)
    assert ordinals(lab, selection) == [1, 3, 7, 6]
    assert waiting == 0
    assert [draw["first_error"] for draw in selection.draws] == [25, 25, 26, 27]
    assert selection.draws[0].keys() == {"first_error", "w0", "wa", "wm"}
    assert ordinals(lab, best_of(lab, "regnetx", 1, "lowest")[0]) == [4]
    assert ordinals(lab, best_of(lab, "regnetx", 1, where="ordinal < 1")[0]) == [0]
    with pytest.raises(DsdError, match="8 of 8 networks of regnetx have an error: the 9 best"):
        best_of(lab, "regnetx", 9)
    with pytest.raises(DsdError, match="No network of regnetx meets --where 'd > 99'"):
        best_of(lab, "regnetx", 1, where="d > 99")
    with pytest.raises(UsageError, match="cannot be built here"):
        best_of(lab, "paper/regnetx", 1)


def test_every_repeat_trains_all_of_it_under_a_seed_of_its_own(lab: Lab) -> None:
    selection, _ = best_of(lab, "regnetx", 3)
    done = enqueue(lab, selection, "longer", 2)
    assert done.seeds == (0, 1)
    assert [one.added for one in done.saved] == [3, 3]
    assert done.outside == 3, "the same networks cost more at 64 px"
    assert not done.adapted
    again = enqueue(lab, named_selection(lab, "top3/regnetx"), "longer", 3)
    assert [one.added for one in again.saved] == [0, 0, 3]
    chosen = lab.population("top3/regnetx@longer")
    assert chosen.parts == tuple(f"top3/regnetx@longer#{seed}" for seed in range(3))
    assert chosen.frame.groupby("digest").run.nunique().tolist() == [3, 3, 3]
    assert chosen.frame["first_error"].tolist() == [25, 25, 26] * 3
    assert "3 best of 8 scored networks of regnetx@fashion#0 (n = 8)" in chosen.origin
    assert lab.population("regnetx").count("done", "diverged") == 8


def test_a_repeat_that_is_not_there_says_how_to_make_it(lab: Lab) -> None:
    enqueue(lab, best_of(lab, "regnetx", 1)[0], "longer", 1)
    with pytest.raises(DsdError, match=r"there is top1/regnetx@longer. `dsd enqueue top1/regnetx "):
        lab.population("top1/regnetx")
    with pytest.raises(DsdError, match=r"its seeds: 0. `dsd enqueue .* --repeats N` makes it"):
        lab.population("top1/regnetx@longer#4")


def test_the_run_that_chose_a_network_is_no_repeat(lab: Lab) -> None:
    selection, _ = best_of(lab, "regnetx", 2)
    done = enqueue(lab, selection, "fashion", 2)
    assert done.seeds == (1, 2), "seed 0 chose it"
    assert sum(one.reused for one in done.saved) == 0
    one = of_runs(lab, [2])
    assert enqueue(lab, one, "fashion", 1).seeds == (1,)
    assert one.name == f"network/{one.archs[0].digest}"
    with pytest.raises(UsageError, match="--name"):
        of_runs(lab, [2, 3])
    assert len(of_runs(lab, [2, 3], "both").archs) == 2
    with pytest.raises(DsdError, match="No run 999"):
        of_runs(lab, [999])


def test_a_name_keeps_its_meaning(lab: Lab) -> None:
    enqueue(lab, best_of(lab, "regnetx", 2)[0], "longer", 1)
    with writing(lab.store) as connection:
        connection.execute(update(Run).where(Run.id == 1).values(error_last=1.0))
    other, _ = best_of(lab, "regnetx", 2)
    with pytest.raises(DsdError, match=r"another selection in .*--name"):
        enqueue(lab, other, "longer", 1)
    for taken in ("regnetx", "paper/x", "a b", "a@b"):
        renamed = Selection(taken, other.archs, other.draws, other.origin)
        with pytest.raises(UsageError):
            enqueue(lab, renamed, "longer", 1)


def test_a_published_network_s_name_is_taken(lab: Lab) -> None:
    selection, _ = best_of(lab, "regnetx", 2, name="regnetx-400mf")
    with pytest.raises(UsageError, match="published network"):
        enqueue(lab, selection)


def test_a_name_that_means_nothing_makes_no_database(tmp_path: Path) -> None:
    empty = dsd.open(str(tmp_path / "none.db"))
    with pytest.raises(UsageError, match=r"dsd enqueue --top 25 regnetx$"):
        named_selection(empty, "regnetx")
    with pytest.raises(UsageError, match=r"Did you mean 'regnetx-400mf'"):
        named_selection(empty, "regnetx-40mf")
    assert not list(tmp_path.iterdir())


def test_a_selection_never_mixes_with_a_sample(lab: Lab) -> None:
    enqueue(lab, best_of(lab, "regnetx", 2)[0], "fashion", 1)
    owner = queue.register_worker(lab.store, "cpu")
    while held := queue.claim(lab.store, owner):
        assert queue.finish(lab.store, held, error_last=24.0, error_lowest=24.0)
    with pytest.raises(DsdError, match=r"top2/regnetx is a selection .*no sample.*dsd summary"):
        study_of(lab, ["regnetx", "top2/regnetx"])
    both = study_of(lab, ["regnetx", "top2/regnetx"], Question(across=True))
    assert not both.comparisons
    alone = study_of(lab, ["top2/regnetx"])
    assert "were chosen" in next(alone.warnings())
    assert not list(study_of(lab, ["regnetx"]).warnings())
    states = {one.name: one.kind for one in lab.status().populations}
    assert states["top2/regnetx@fashion#1"] == "selection"
    assert states["regnetx@fashion#0"] == "space"


def test_a_published_network_gets_what_the_regime_decides() -> None:
    regime = load_regime("fashion")
    (one,) = repeats_of(published_selection("regnety-400mf"), regime, 1)
    (arch,) = one.archs
    theirs = published_network("regnety-400mf")
    assert arch.stem == regime.stem
    assert arch.classes == 10
    assert arch.stages == theirs.stages
    assert one.outside == 1
    plain = load_regime("imagenet_400mf_100ep")
    (same,) = repeats_of(published_selection("regnetx-400mf"), plain, 1)
    assert same.archs == (published_network("regnetx-400mf"),)
    assert same.outside == 0
    assert (plain.train.epochs, plain.train.lr, plain.train.warmup_epochs) == (100, 0.1, 5)
    assert plain.band == load_regime("imagenet_400mf").band


def test_selections_are_merged(lab: Lab, tmp_path: Path) -> None:
    enqueue(lab, best_of(lab, "regnetx", 2)[0], "longer", 2)
    other = open_store(str(tmp_path / "other.db"))
    merge(other, lab.store)
    merge(other, lab.store)
    there = dsd.open(str(tmp_path / "other.db")).population("top2/regnetx@longer")
    assert there.selected
    assert there.frame["digest"].tolist() == (
        lab.population("top2/regnetx@longer").frame["digest"].tolist()
    )
    other.close()
