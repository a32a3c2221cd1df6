"""What populations at the edge are answered: one line, with what would work."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from dsd.cli.main import cli
from dsd.errors import DsdError


def write(folder: Path, name: str, columns: dict[str, object]) -> str:
    """A CSV of columns of equal length; its path."""
    path = folder / f"{name}.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))  # type: ignore[arg-type]
    return str(path)


def test_what_is_wrong_and_what_would_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()  # in this process: many questions, each answered by the real commands

    def asked(*words: str) -> str:
        result = runner.invoke(cli, words)
        assert result.exception is None, result.exception
        return result.output

    def fails(*words: str, code: int) -> str:
        error = runner.invoke(cli, words).exception
        assert isinstance(error, DsdError | SystemExit)
        assert getattr(error, "exit_code", getattr(error, "code", 0)) == code
        assert "\n" not in str(error)
        return str(error)

    rng = np.random.default_rng(4)
    n = 40
    shared = rng.choice([1, 2, 4], n)
    good = {"error": rng.normal(45, 2, n).round(2), "d": range(10, 10 + n), "b1": shared,
            "b2": shared, "flops": [1e6] * n}  # fmt: skip
    asked("import", "csv", write(tmp_path, "study", good))
    few = {"error": [44, 45, 46, "nan"], "state": ["done", "done", "diverged", "done"]}
    assert "chance level" in fails("import", "csv", write(tmp_path, "few", few), code=2)
    asked("import", "csv", "few.csv", "--skip-bad")

    out = asked("edf", "few", "study")
    assert "the mean's interval of few holds less often than 95%" in out
    assert "1 rows of the file of few were left out" in out
    assert "corrects for 3 pairs" in asked("edf", "study", "--split", "b")
    shares = json.loads(asked("best", "study", "depth", "b", "--json"))["columns"]
    assert [one["column"] for one in shares] == ["depth", "b"]

    assert "No network is in study [d < 3]" in fails("edf", "study", "--split", "d < 3", code=1)
    assert "flops is the same" in fails("edf", "study", "--normalize", "flops", code=1)
    assert "4 are needed" in fails("complexity", "few", "error", "--against", "error", code=1)
    assert "Did you mean 'study'" in fails("edf", "studdy", code=1)
    assert "`dsd edf --across-regimes`" in fails("compare", "study", "paper/regnetx", code=1)
    assert "by --against" in runner.invoke(cli, ["complexity", "study"]).output
