"""In and out: files of other programs, and files for them, through the real command line."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from dsd.store.papers import SCATTER


def test_the_papers_scatter_is_imported_compared_and_exported(here):
    assert "497 networks" in here("import", "csv", str(SCATTER))
    assert "here already" in here("import", "csv", str(SCATTER))
    row = next(line for line in here("edf", SCATTER.stem).splitlines() if SCATTER.stem in line)
    assert row.split()[1] == "497"
    assert row.split()[2] == "39.0"
    assert " 49.0 [" in row
    some = json.loads(here("edf", SCATTER.stem, "--where", "depth <= 20", "--json"))
    table = pd.read_csv(SCATTER)
    assert some["populations"][0]["n"] == (table.depth <= 20).sum()
    here("export", SCATTER.stem, "-o", "out.csv")
    assert "--force" in here.fails("export", SCATTER.stem, "-o", "out.csv", code=2)
    back = pd.read_csv(here.folder / "out.csv")
    assert back[["depth", "w4", "error_last"]].to_numpy().tolist() == table.to_numpy().tolist()
    here("import", "csv", "out.csv", "--name", "back")
    same = json.loads(here("edf", "back", SCATTER.stem, "--json"))
    assert same["comparisons"][0]["ks"] == 0


def test_conditions_that_differ_are_not_compared(here):
    (here.folder / "mine.csv").write_text("error\n40\n41\n42\n")
    here("import", "csv", "mine.csv")
    assert "--across-regimes" in here.fails("edf", "mine", "paper/regnetx", code=1)
    found = json.loads(here("edf", "mine", "paper/regnetx", "--across-regimes", "--json"))
    assert [one["n"] for one in found["populations"]] == [3, 206]
    assert found["comparisons"] == []
    (here.folder / "bad.csv").write_text("error\n40\nhello\n")
    assert "line 3" in here.fails("import", "csv", "bad.csv", code=2)
    assert "line 3" in here("import", "csv", "bad.csv", "--skip-bad")


def test_a_trained_population_is_exported_with_its_curves(tiny):
    tiny.environment["DSD_REGIME"] = "fashion"
    tiny("sample", "anynetx_a", "--n", "3")
    tiny("worker", "--cpu", "--max-runs", "2")
    whole = json.loads(tiny("export", "anynetx_a", "--format", "json"))
    assert [row["state"] for row in whole] == ["done", "done", "queued"]
    assert whole[0]["from_torch"]
    assert whole[2]["error_last"] is None
    curves = json.loads(tiny("export", "--epochs", "--format", "json", "--where", "error >= 0"))
    assert [(row["ordinal"], row["epoch"]) for row in curves] == [(0, 1), (1, 1)]
    assert curves[0]["test_error"] == whole[0]["error_last"]
    kept = json.loads(tiny("edf", "anynetx_a", "--prefix", "--json"))["populations"][0]
    assert (kept["n"], kept["size"], kept["unfinished"]) == (2, 2, 0)


def test_parquet_keeps_the_types(here):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    here("export", "paper/anynetx_a", "-o", "a.parquet")
    assert pd.read_parquet(here.folder / "a.parquet")["depth"].tolist()[:2] == [20, 13]
