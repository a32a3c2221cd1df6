"""What populations at the edge are answered: one line, with what would work."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np


def write(folder: Path, name: str, columns: dict[str, object]) -> str:
    """A CSV of columns of equal length; its path."""
    path = folder / f"{name}.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))  # type: ignore[arg-type]
    return str(path)


def test_what_is_wrong_and_what_would_work(here):
    rng = np.random.default_rng(4)
    n = 40
    shared = rng.choice([1, 2, 4], n)
    good = {"error": rng.normal(45, 2, n).round(2), "d": range(10, 10 + n), "b1": shared,
            "b2": shared, "flops": [1e6] * n}  # fmt: skip
    here("import", "csv", write(here.folder, "study", good))
    few = {"error": [44, 45, 46, "nan"], "state": ["done", "done", "diverged", "done"]}
    assert "chance level" in here.fails("import", "csv", write(here.folder, "few", few), code=2)
    here("import", "csv", "few.csv", "--skip-bad")

    out = here("edf", "few", "study")
    assert "the mean's interval of few holds less often than 95%" in out
    assert "1 rows of the file of few were left out" in here.stderr
    assert "corrects for 3 pairs" in here("edf", "study", "--split", "b")
    shares = json.loads(here("best", "study", "depth", "b", "--json"))["columns"]
    assert [one["column"] for one in shares] == ["depth", "b"]

    assert "No network is in study [d < 3]" in here.fails(
        "edf", "study", "--split", "d < 3", code=1
    )
    assert "flops is the same" in here.fails("edf", "study", "--normalize", "flops", code=1)
    assert "4 are needed" in here.fails("complexity", "few", "error", "--against", "error", code=1)
    assert "Did you mean 'study'" in here.fails("edf", "studdy", code=1)
    assert "`dsd edf --across-regimes`" in here.fails("compare", "study", "paper/regnetx", code=1)
    assert "by --against" in here.fails("complexity", "study", code=2)
