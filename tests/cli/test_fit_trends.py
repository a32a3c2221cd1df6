"""Fits and trends through the real command line, on populations that are imported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

STUDY = Path(__file__).parent.parent.parent / "docs" / "study"


def test_the_fit_of_a_population_and_of_a_network(here):
    table = pd.read_csv(STUDY / "anynetx_e.csv").head(40)
    table.to_csv(here.folder / "e.csv", index=False)
    here("import", "csv", "e.csv", "--error", "error_last")
    found = json.loads(here("fit", "e", "--json", "--plot", "e.png"))
    assert [row["error"] for row in found["networks"]] == table.error_last.tolist()
    e_fit = [row["e_fit"] for row in found["networks"]]
    assert found["quartiles"][2] == pytest.approx(np.median(e_fit))
    rank = found["rank_correlation"]
    assert rank["low"] < rank["rho"] < rank["high"]
    assert rank["rho"] == pytest.approx(pd.Series(e_fit).corr(table.error_last, "spearman"))
    assert found["on_a_line"] == e_fit.count(0) < 10
    assert (here.folder / "e.png").stat().st_size > 20_000
    out = here("fit", "regnetx-400mf", "--plot")
    assert "e_fit 0: its widths are a RegNet's" in out
    assert "12 x 384" in out
    assert (here.folder / "fit-regnetx-400mf.png").stat().st_size > 5000
    assert "(d1, w1, ...)" in here.fails("fit", "paper/anynetx_a", code=2)


def test_trends_over_regimes(here):
    table = pd.read_csv(STUDY / "regnetx.csv")
    for i in range(2):
        moved = table.assign(w0=table.w0 * 3**i + 40 * i, flops=table.flops * 2**i, b=1)
        moved["error_last"] = 20 * i + (moved.w0 - moved.w0.quantile(0.4)).abs() / 4
        moved.to_csv(here.folder / f"r{i}.csv", index=False)
        here("import", "csv", f"r{i}.csv", "--error", "error_last", "--regime", f"{i} MF")
    out = here("trends", "r1", "r0", "--plot")
    assert "w0 grows with compute" in out
    assert "d: no trend shown" in out
    assert "b is 1 in all: left out" in out
    assert "never between" in out
    assert "supposes that they differ in compute alone" in here.stderr
    assert (here.folder / "trends-r1-r0.png").stat().st_size > 5000
    found = json.loads(here("trends", "r1", "r0", "--columns", "w0, w4 / w1", "--json"))
    assert [one["column"] for one in found["columns"]] == ["w0", "w4 / w1"]
    assert [one["population"] for one in found["populations"]] == ["r0", "r1"]
    best = [one["best"] for one in found["columns"][0]["ranges"]]
    assert found["columns"][0]["slope"] == pytest.approx(best[1] - best[0])
    assert "two regimes" in here.fails("trends", "r0", code=2)
