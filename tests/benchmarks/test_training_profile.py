"""The table of where training time goes, over real steps of a real session."""

from __future__ import annotations

import re
import sys

import pytest
import torch
from training_profile import main, on_cpu, on_gpu, recorded

from dsd.net.arch import Arch, Stage, Stem
from dsd.regime import load_regime
from dsd.train.data import Dataset
from dsd.train.images import Images


def test_kinds_cover_the_steps_and_tell_convolutions_apart() -> None:
    """A stem, and blocks of depthwise and of grouped 3x3 convolutions."""
    stages = (Stage(1, 8, 1, 1), Stage(1, 16, 1, 8))
    arch = Arch(Stem(1, 4), stages, block="Y", classes=10)
    pixels = torch.randint(256, (1536, 1, 28, 28), dtype=torch.uint8)
    split = Images(pixels, torch.arange(1536) % 10)
    data, regime = Dataset(split, split, "random"), load_regime("fashion")
    steps, events = recorded(arch, regime, data, torch.device("cpu"), 2, 4)
    assert steps.asked == 2 + 1 + 4
    table = on_cpu(steps, events)
    for sort in ("dense 3x3", "dense 1x1", "grouped 3x3", "depthwise 3x3"):
        for way in ("forward", "backward"):
            assert table[f"{sort} convolution, {way}"] > 0
    others = ("batch norm, forward", "batch norm, backward", "activation, backward", "pooling",
              "optimiser", "classifier", "loss and tally", "images", "sums and gates")  # fmt: skip
    assert all(table[kind] > 0 for kind in others), table
    assert set(on_gpu(steps, events)) == {"idle"}, "no kernel of a GPU ran"
    assert table.get("other operators", 0) < 0.1 * sum(table.values())


def test_a_regime_with_too_few_steps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["profile", "regnetx-200mf", "--steps", "0"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        main()
    assert "numbers from 1 would work" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["profile", "anynetx_zz"])
    with pytest.raises(SystemExit) as left:
        main()
    assert re.search("anynetx_zz.*Did you mean", str(left.value))
