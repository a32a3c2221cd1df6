"""What comes after a study: times, retrained networks and their weights, by the real commands."""

from __future__ import annotations

import json

import pytest


@pytest.mark.slow
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


def test_the_best_are_trained_again_and_exported(tiny):
    from pathlib import Path

    import torch
    from safetensors.torch import load_file
    from torchvision.models.regnet import BlockParams, RegNet
    from torchvision.ops import Conv2dNormActivation

    import dsd
    from dsd.train.device import pick_device
    from dsd.train.weights import Keep
    from dsd.train.worker import work

    longer = (
        (tiny.folder / "regimes" / "fashion.toml").read_text().replace("epochs = 1", "epochs = 2")
    )
    (tiny.folder / "regimes" / "longer.toml").write_text(longer)
    tiny("sample", "regnetx", "--n", "3", "--regime", "fashion")
    lab = dsd.open(str(tiny.folder / "dsd.db"), regime="fashion")
    kept = Keep(tiny.folder / "weights")

    def train() -> None:
        work(lab.store, folder=Path("."), device=pick_device(cpu=True), keep=kept,
             exit_when_empty=True, hear=lambda _: None)  # fmt: skip

    train()
    out = tiny("enqueue", "--top", "1", "regnetx", "--regime", "longer", "--repeats", "2")
    assert "top1/regnetx@longer: 1 network, the 1 best of 3 scored networks" in out
    assert "repeats #0, #1: 2 queued, 0 already known" in out
    train()
    said = json.loads(tiny("summary", "top1/regnetx@longer", "--json"))
    (row,) = said["networks"]
    table = dsd.open(str(tiny.folder / "dsd.db")).population("top1/regnetx@longer").frame
    assert row["n"] == 2
    assert row["mean"] == table["error_last"].mean()
    assert row["sd"] == table["error_last"].std() > 0
    assert row["first_error"] == lab.population("regnetx@fashion").frame["error_last"].min()
    out = tiny("weights", str(table["run"][0]), "-o", "net.safetensors", "--format", "torchvision")
    call = next(line for line in out.splitlines() if line.startswith("  net = ")).split(" = ", 1)[1]
    calls = {"RegNet": RegNet, "BlockParams": BlockParams}
    calls["Conv2dNormActivation"] = Conv2dNormActivation
    net = eval(call, calls)
    net.load_state_dict(load_file(tiny.folder / "net.safetensors"))
    assert net(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    assert "is no run" in tiny.fails("weights", "regnetx", "-o", "x.safetensors", code=2)
