"""Fits and trends of sampled populations: of which regimes, of which columns, in which order."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import update

import dsd
from dsd.fits import fits_of
from dsd.store.engine import writing
from dsd.store.schema import Run
from dsd.study import Question
from dsd.trends import trends_of

REGIMES = ("imagenet_400mf", "imagenet_200mf", "fashion")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> dsd.Lab:
    held = dsd.open(str(tmp_path_factory.mktemp("trends") / "dsd.db"))
    for regime in REGIMES:
        held.sample("regnetx", 12, regime=regime)
    held.sample("anynetx_e", 12, regime="fashion")
    with writing(held.store) as connection:
        scored = {"state": "done", "error_last": Run.id + 20.5, "error_lowest": Run.id + 19.5}
        connection.execute(update(Run).values(**scored))
    return held


def test_regimes_stand_in_the_order_of_their_flops(lab: dsd.Lab) -> None:
    found = trends_of(lab, [f"regnetx@{regime}" for regime in REGIMES[:2]])
    assert [study.regime for study in found.studies] == ["imagenet_200mf", "imagenet_400mf"]
    assert list(found.columns) == ["d", "b", "g", "wm", "wa", "w0"]
    frames = [lab.population(name).frame for name in found.names]
    assert found.flops == tuple(float(np.median(frame.flops)) for frame in frames)
    assert not found.notes
    rows = list(found.rows())
    assert len(rows) == 12
    assert {row["slope"] for row in rows if row["column"] == "d"} == {found.columns["d"].slope}


def test_what_else_differs_is_said(lab: dsd.Lab) -> None:
    names = ["regnetx@imagenet_200mf", "anynetx_e@fashion"]
    spaces, regimes = trends_of(lab, names, question=Question(where="d > 1")).warnings()
    assert "several spaces, anynetx_e, regnetx" in spaces
    assert "differ beside compute: " in regimes
    assert "dataset fashion-mnist-5k and imagenet" in regimes
    assert "band" not in regimes


def test_what_is_no_trend_is_refused(lab: dsd.Lab) -> None:
    for names, columns, why in (
        (["regnetx@fashion"], [], "two regimes"),
        (["regnetx@fashion"] * 2, [], "two regimes"),
        (["regnetx@fashion", "anynetx_e@fashion"], [], "one population for each regime"),
        (["regnetx@fashion", "regnetx@imagenet_200mf"], ["dd"], "unknown name 'dd'"),
        (["regnetx@fashion", "paper/regnetx"], [], "flops"),
    ):
        with pytest.raises(dsd.DsdError, match=why):
            trends_of(lab, names, columns)


def test_fits_of_sampled_networks(lab: dsd.Lab) -> None:
    on_line = fits_of(lab, "regnetx@fashion", (1.5, 3.0))
    assert on_line.e_fit.tolist() == [0] * 12
    assert on_line.rank is None
    assert on_line.best is not None
    assert on_line.best.high == 0
    some = fits_of(
        lab, "anynetx_e@fashion", (1.5, 3.0), question=Question("lowest", where="d <= 10")
    )
    table = lab.population("anynetx_e@fashion").frame.query("d <= 10")
    assert [row["ordinal"] for row in some.rows] == table.ordinal.tolist()
    assert [row["error"] for row in some.rows] == table.error_lowest.tolist()
    assert some.as_dict()["n"] == len(table)
    assert some.quartiles == sorted(some.quartiles)
    with pytest.raises(dsd.UsageError, match=r"\(d1, w1, ...\)"):
        fits_of(lab, "paper/regnetx", (1.5, 3.0))
