"""What comes after a study: times, retrained networks and their weights, by the real commands."""

from __future__ import annotations

import json


def test_networks_are_timed_once_and_complexity_reads_it(tiny):
    conditions = ("--regime", "fashion")
    tiny("sample", "regnetx", "--n", "5", *conditions)
    ask = ("time", "regnetx", "--batch", "2", "--seconds", "0", *conditions)
    first = json.loads(tiny(*ask, "--n", "4", "--json"))
    assert len(first) == 4
    assert all(0 < row["inference_ms"] < row["training_ms"] for row in first)
    assert first[0]["flops"] > 0
    assert first[0]["resolution"] == 28
    out = tiny(*ask)
    assert out.count("(measured before)") == 4
    assert "regnetx@fashion#0 4: inference" in out
    found = json.loads(
        tiny(
            "complexity", "regnetx", "--time", "training", *conditions, "--json", "--plot", "t.pdf"
        )
    )
    assert [one["column"] for one in found["columns"]] == ["flops", "params", "acts"]
    assert found["columns"][0]["n"] == 5
    assert "batch 2, 28 px, fp32" in found["measured"]
    assert (tiny.folder / "t.pdf").read_bytes().startswith(b"%PDF")
    said = tiny.fails("complexity", "regnetx", "--time", "training", "--device", "H100",
                      *conditions, code=2)  # fmt: skip
    assert "names none of the conditions" in said
