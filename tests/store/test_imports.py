"""Populations trained elsewhere: read whole or not at all, and never confused with others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dsd
from dsd.errors import DsdError, UsageError
from dsd.store.engine import Store
from dsd.store.external import External, ExternalRow
from dsd.store.imports import delete_import, import_sizes, imported, save_import
from dsd.store.papers import papers
from dsd.store.populations import save_sample
from dsd.store.readers import read_csv, read_nds, read_pycls


def written(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def nds_job(**changes: Any) -> dict[str, Any]:
    """A job as the release has it: index 0 is the stem, bot_mul is 1/b, num_gs counts groups."""
    net = {"block_type": "resnext", "ds": [1, 3, 4], "ws": [16, 64, 128], "ss": [1, 1, 2],
           "bot_muls": [0.0, 0.25, 0.5], "num_gs": [1, 4, 2]}  # fmt: skip
    job = {"net": net, "optim": {"base_lr": 0.1, "wd": 5e-4, "max_ep": 100}, "params": 1e6,
           "flops": 2e6, "min_test_top1": 6.5, "test_ep_top1": [40.0, 6.5, 7.0]}  # fmt: skip
    return {**job, **changes}


def test_a_csv_keeps_its_order_its_numbers_and_its_texts(tmp_path):
    path = written(tmp_path, "a.csv", "\ufeff depth , error,name\n3,20.5,x\n4,10,\n")
    table = read_csv(path).named("a", "here").frame()
    assert table[["depth", "error_last", "error_lowest"]].to_numpy().tolist() == [
        [3, 20.5, 20.5],
        [4, 10, 10],
    ]
    assert table["name"].fillna("").tolist() == ["x", ""]
    assert table["regime"].unique().tolist() == ["here"]
    assert table["ordinal"].tolist() == [0, 1]


def test_bad_rows_are_named_by_their_line_and_nothing_else_comes_in(tmp_path):
    path = written(tmp_path, "a.csv", "error,d\n10,1\nnan,2\n,3\n101,4\n5\n-1,6\n20,7\n")
    read = read_csv(path)
    assert [place.split(":")[0] for place in read.bad] == [f"line {i}" for i in (3, 4, 5, 6, 7)]
    with pytest.raises(UsageError, match=r"5 of 7 rows.*line 3.*2 more.*--skip-bad"):
        read.named("a", "here")
    kept = read.named("a", "here", skip_bad=True)
    assert [row.error_last for row in kept.rows] == [10, 20]
    assert kept.tally["bad"] == 5
    assert len(kept.tally["bad_rows"]) == 5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("d,x\n1,2\n", "which column is the error"),
        ("error,error\n1,2\n", "named twice"),
        ("", "which column"),
        ("error\n", "no row"),
    ],
)
def test_a_csv_that_says_no_error_is_refused(tmp_path, content, said):
    with pytest.raises(UsageError, match=said):
        read_csv(written(tmp_path, "a.csv", content)).named("a", "here")


def test_the_error_column_can_be_named(tmp_path):
    path = written(tmp_path, "a.csv", "acc,mine\n1,2\n")
    assert read_csv(path, "mine").rows[0].error_last == 2
    with pytest.raises(UsageError, match=r"no column 'min'.*'mine'"):
        read_csv(path, "min")


def test_the_nds_release_is_read_in_the_papers_terms(tmp_path):
    darts = {"genotype": {"normal": [["skip", 0]]}, "width": 16, "depth": 8}
    jobs = {"top": [nds_job()], "mid": [nds_job(net=darts, test_ep_top1=[])]}
    read = read_nds(written(tmp_path, "nds.json", jobs))
    assert read.bad == ()
    first, second = read.rows
    assert (first.error_last, first.error_lowest, first.curve) == (7.0, 6.5, [40.0, 6.5, 7.0])
    assert {k: first.properties[k] for k in ("d", "d1", "w2", "b1", "b2", "g1", "g2")} == {
        "d": 7, "d1": 3, "w2": 128, "b1": 4, "b2": 2, "g1": 4, "g2": 32,
    }  # fmt: skip
    assert first.properties["lr"] == 0.1
    assert (second.error_last, second.error_lowest) == (None, 6.5)
    assert second.properties["width"] == 16
    assert "skip" in second.properties["genotype"]


def test_jobs_of_another_form_are_named(tmp_path):
    broken = nds_job()
    del broken["min_test_top1"]
    uneven = nds_job(net={**nds_job()["net"], "ws": [16, 64]})
    read = read_nds(written(tmp_path, "nds.json", [nds_job(), broken, uneven, 7]))
    assert len(read.rows) == 1
    assert [place.split(":")[0] for place in read.bad] == ["network 1", "network 2", "network 3"]
    assert "min_test_top1" in read.bad[0]
    for content in ("[1, 2", '{"a": 1}'):
        with pytest.raises(UsageError):
            read_nds(written(tmp_path, "cut.json", content))


def test_a_pycls_sweep_is_read_in_the_papers_terms(tmp_path):
    optim = {"BASE_LR": 0.05, "MAX_EPOCH": 10}
    regnet = {"MODEL": {"TYPE": "regnet"}, "OPTIM": optim, "REGNET": {
        "DEPTH": 20, "W0": 24, "WA": 30.5, "WM": 2.5, "GROUP_W": 16, "BOT_MUL": 0.5}}  # fmt: skip
    anynet = {
        "MODEL": {"TYPE": "anynet"},
        "ANYNET": {
            "DEPTHS": [1, 2],
            "WIDTHS": [32, 64],
            "BOT_MULS": [1.0, 0.25],
            "GROUP_WS": [8, 8],
        },
    }
    tested = {"min_top1_err": [60.0, 50.0], "top1_err": [60.0, 51.0]}
    costs = {"flops": 400e6, "params": 5e6, "acts": 3e6}
    jobs = [{"cfg": cfg, "complexity": costs, "test_epoch": tested} for cfg in (regnet, anynet)]
    jobs += [{"cfg": regnet, "complexity": costs, "test_epoch": {"min_top1_err": []}}]
    read = read_pycls(written(tmp_path, "sweep.json", jobs))
    first, second = read.rows
    assert (first.error_last, first.error_lowest) == (51.0, 50.0)
    assert {k: first.properties[k] for k in ("d", "w0", "b", "g", "flops", "lr")} == {
        "d": 20, "w0": 24, "b": 2, "g": 16, "flops": 400e6, "lr": 0.05,
    }  # fmt: skip
    assert {k: second.properties[k] for k in ("d", "w2", "b1", "b2", "g1")} == {
        "d": 3, "w2": 64, "b1": 1, "b2": 4, "g1": 8,
    }  # fmt: skip
    assert read.bad == ("network 2: not of the expected form",)


def external(name: str = "theirs", label: str = "here", digest: str = "x") -> External:
    rows = (ExternalRow(10.5, 10.0, {"d": 3, "w4": 64}, [20.0, None, 10.5]),
            ExternalRow(90.0, None, {"d": 4}, None, "diverged"))  # fmt: skip
    return External(name, label, "csv", "a.csv", digest, rows, {"rows": 2, "bad": 0})


def test_what_is_kept_comes_back(store: Store):
    assert save_import(store, external())
    assert imported(store, "theirs") == external()
    assert import_sizes(store) == {"theirs": ("here", 2)}
    assert imported(store, "others") is None


def test_the_same_import_twice_is_one_and_another_under_its_name_is_refused(store: Store):
    assert save_import(store, external())
    assert not save_import(store, external())
    for other in (external(digest="y"), external(label="elsewhere")):
        with pytest.raises(DsdError, match="another import already"):
            save_import(store, other)
    assert import_sizes(store) == {"theirs": ("here", 2)}
    assert delete_import(store, "theirs")
    assert not delete_import(store, "theirs")


@pytest.mark.parametrize("name", ["a b", "a@b", "a#1", "", "paper/mine", "/a"])
def test_a_name_that_a_reference_could_not_say_is_refused(store: Store, name: str):
    with pytest.raises(UsageError, match="cannot name"):
        save_import(store, external(name))


def test_the_name_of_a_sampled_space_is_taken(store: Store, draw: Any):
    save_sample(store, draw(2, "wide"))
    with pytest.raises(DsdError, match="sampled space"):
        save_import(store, external("wide"))


@pytest.mark.parametrize(
    ("name", "n", "low", "mean"),
    [
        ("paper/anynetx_a", 497, 39.0, 49.0),
        ("paper/anynetx_c", 506, 38.9, 49.4),
        ("paper/anynetx_d", 256, 38.7, 43.2),
        ("paper/regnetx", 206, 38.2, 41.0),
    ],
)
def test_the_papers_populations_are_shipped(name, n, low, mean):
    errors = papers()[name].frame()["error_last"]
    assert (len(errors), round(errors.min(), 1), round(errors.mean(), 1)) == (n, low, mean)


def test_a_lab_opens_them_beside_what_was_sampled(sqlite_url: str, draw: Any):
    lab = dsd.open(sqlite_url)
    save_sample(lab.store, draw(3, "wide"))
    lab.add(external())
    assert lab.populations() == ["wide@fashion#0", "theirs"]
    theirs = lab.population("theirs")
    assert theirs.regimes == {"here"}
    assert theirs.scored["error_last"].tolist() == [10.5, 90.0]
    assert theirs.curves["test_error"].fillna(-1).tolist() == [20.0, -1, 10.5]
    assert np.isnan(theirs.frame["w4"].iloc[1])
    assert len(lab.population("wide@fashion").frame) == 3
    assert len(lab.population("paper/regnetx").scores) == 206
