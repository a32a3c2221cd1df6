"""The questions of a study through the real commands, on the paper's own data."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import pandas as pd
import pytest

from dsd.store.papers import SCATTER

STUDY = Path(__file__).parent.parent.parent / "docs" / "study"


def test_figure_2_from_an_imported_file(dsd):
    dsd("import", "csv", str(SCATTER), "--name", "fig2")
    found = json.loads(dsd("best", "fig2", "depth", "w4", "--json", "--plot", "fig2.pdf"))
    assert [(c["column"], c["low"], c["best"], c["high"]) for c in found["columns"]] == [
        ("depth", 10, 20, 24), ("w4", 272, 448, 896),
    ]  # fmt: skip
    assert (dsd.folder / "fig2.pdf").read_bytes().startswith(b"%PDF")
    assert "Did you mean 'depth'" in dsd.fails("best", "fig2", "dept", code=2)


def test_the_papers_comparisons(here):
    names = [f"paper/{name}" for name in ("anynetx_a", "anynetx_c", "anynetx_d")]
    out = here("compare", *names)
    assert "paper/anynetx_a and paper/anynetx_c: no difference shown; about" in out
    assert "paper/anynetx_c is worse than paper/anynetx_d (95% confidence)" in out
    found = json.loads(here("compare", *names, "--json"))["comparisons"]
    clear = next(c for c in found if c["a"] == names[1] and c["b"] == names[2])
    assert round(clear["ks"], 2) == 0.59
    assert clear["verdict"] == "worse"
    assert clear["p_holm"] >= clear["p_value"]
    steps = json.loads(here("lineage", *names, "--json"))["steps"]
    assert [step["verdict"].split(";")[0] for step in steps] == [
        "",
        "no difference shown",
        "better",
    ]
    assert "at least" in here.fails("compare", "paper/anynetx_a", code=2)
    found = json.loads(here("search-efficiency", *names, "--json", "--plot", "s.png"))
    first = found["populations"][0]
    assert first["m"] == [1, 2, 4, 8, 16, 32]
    assert round(first["expected_best"][0], 1) == 49.0
    assert all(a > b for a, b in itertools.pairwise(first["expected_best"]))


def test_times_and_tops_of_a_trained_population(here):
    table = pd.read_csv(STUDY / "anynetx_a.csv")
    here("import", "csv", str(STUDY / "anynetx_a.csv"), "--name", "a", "--error", "error_last")
    found = json.loads(here("complexity", "a", "--json", "--plot", "time.svg"))
    by_name = {one["column"]: one for one in found["columns"]}
    assert by_name["acts"]["pearson"] == pytest.approx(table.acts.corr(table.seconds))
    assert by_name["acts"]["low"] < by_name["acts"]["pearson"] < by_name["acts"]["high"]
    tops = json.loads(here("top", "a", "--n", "3", "--json", "--plot"))
    ranked = table.error_last.sort_values()
    assert [one["error_last"] for one in tops["best"]] == ranked.head(3).tolist()
    assert [one["error_last"] for one in tops["worst"]] == ranked.tail(3).tolist()[::-1]
    assert (here.folder / "top-a.png").stat().st_size > 5000


def test_parts_shares_quantiles_and_equal_complexity(here):
    for name in ("anynetx_a", "regnetx"):
        file = str(STUDY / f"{name}.csv")
        here("import", "csv", file, "--name", name[:3], "--error", "error_last")
    table = pd.read_csv(STUDY / "anynetx_a.csv")
    found = json.loads(here("edf", "any", "--split", "d <= 10", "--quantiles", "0.1", "--below",
                           "20,22", "--json"))  # fmt: skip
    first, second = found["populations"]
    assert (first["name"], second["name"]) == ("any [d <= 10]", "any [not (d <= 10)]")
    part = table[table.d <= 10].error_last
    assert first["n"] == len(part)
    assert first["quantiles"][0]["value"] == pytest.approx(part.quantile(0.1))
    assert [one["share"] for one in first["below"]] == [(part < 20).mean(), (part < 22).mean()]
    assert (found["comparisons"][0]["a"], found["comparisons"][0]["b"]) == (
        first["name"], second["name"],
    )  # fmt: skip

    options = ("--normalize", "acts", "--bins", "4")
    out = here("edf", "any", "reg", *options, "--plot", "n.svg", "--band", "simultaneous")
    assert "equal weight of 4 bins of acts" in out
    assert "lie outside the range of acts that all populations share" in here.stderr
    flat = pd.read_csv(io.StringIO(here("edf", "any", "reg", *options, "--csv")))
    assert (flat.mean_interval_low < flat["mean"]).all()
    assert "--bins" in here.fails(
        "edf", "any", "reg", "--normalize", "acts", "--bins", "90", code=1
    )
    assert "between 0 and 1" in here.fails("edf", "any", "--quantiles", "2", code=2)
    assert "numbers between commas" in here.fails("edf", "any", "--below", "low", code=2)
    assert "same for all" in here.fails("edf", "any", "--split", "stages", code=2)
    assert "Did you mean" in here.fails("edf", "any", "--split", "flop", code=2)
    pair = json.loads(here("compare", "any", "reg", "--quantiles", "0.1", "--json"))["comparisons"]
    low, high = pair[0]["quantile_differences"][0]["interval"]
    assert 0 < low < pair[0]["quantile_differences"][0]["value"] < high
    assert "\nreg," in here("search-efficiency", "any", "reg", "--csv")
    closed, drawn = (
        json.loads(here("best", "any", "d", *more, "--json"))["columns"][0]
        for more in ((), ("--resample", "20000"))
    )
    assert (closed["low"], closed["best"], closed["high"]) == (
        drawn["low"], drawn["best"], drawn["high"],
    )  # fmt: skip
