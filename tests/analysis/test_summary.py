"""The line of numbers that a population gets."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from dsd.analysis.summary import legend, summarize

PUBLISHED = {
    "AnyNetX_A": "n=497 [39.0 | 49.0]",
    "AnyNetX_C": "n=506 [38.9 | 49.4]",
    "AnyNetX_D": "n=256 [38.7 | 43.2]",
    "RegNetX": "n=206 [38.2 | 41.0]",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_legends(paper: dict[str, list[float]], name: str) -> None:
    assert legend(paper[name]) == PUBLISHED[name]
    summary = summarize(paper[name], name)
    assert summary.mean is not None
    assert f"| {summary.mean:.1f}]" in PUBLISHED[name]


def test_summary_is_json_of_finite_numbers(paper: dict[str, list[float]]) -> None:
    data = json.loads(json.dumps(summarize(paper["RegNetX"], "regnetx").as_dict()))
    assert (data["name"], data["n"], data["min"]) == ("regnetx", 206, 38.17)
    for key in ("mean", "median"):
        low, high = data[f"{key}_interval"]
        assert 40 < low < data[key] < high < 42
    assert data["min_interval"][0] == data["min"]
    assert "one-sided" in data["min_note"]


@pytest.mark.parametrize("errors", [[], [40.0], [40.0, 41.0], [40.0] * 5])
def test_small_populations_are_said_without_nan(errors: list[float]) -> None:
    data = summarize(errors).as_dict()
    assert "NaN" not in json.dumps(data, allow_nan=False)
    assert data["n"] == len(errors)
    assert (data["mean"] is None) == (not errors)
    assert (data["mean_interval"] is None) == (len(errors) < 2)
    assert legend([]) == "n=0"


def test_mean_of_equal_errors_is_that_error() -> None:
    assert summarize([0.1] * 9).mean == 0.1  # summed up and divided it is a little less


def test_summary_does_not_depend_on_order(paper: dict[str, list[float]]) -> None:
    shuffled = np.random.default_rng(0).permutation(paper["AnyNetX_C"])
    assert summarize(shuffled) == summarize(paper["AnyNetX_C"])


def test_analysis_pays_for_no_heavy_import() -> None:
    code = (
        "import sys\n"
        "from dsd.analysis import edf, summary, compare\n"
        "edf.band(edf.edf([1.0, 2.0])); summary.summarize([1.0, 2.0]); compare.compare([1], [2])\n"
        "print([m for m in ('matplotlib', 'scipy.stats', 'torch', 'pandas') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
