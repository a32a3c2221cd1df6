"""The benchmark of training on a GPU, tried on the CPU with tiny sizes: it must not rot."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from large_images import compared
from plain_loops import reference_flags
from small_images import command
from training_gpu import main

from tests.benchmarks.conftest import BENCHMARKS


def trial(*words: str) -> str:
    """What the script prints on the CPU."""
    script = [sys.executable, str(BENCHMARKS / "training_gpu.py"), "--small", "--device", "cpu"]
    found = subprocess.run([*script, *words], capture_output=True, text=True, timeout=230)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.mark.slow
def test_large_part_measures_every_side() -> None:
    out = trial("--part", "large", "--repeats", "1")
    for side in ("plain fp32 NCHW", "plain bf16 channels_last", "dsd bf16", "dsd fp32"):
        rate = re.findall(rf"^  {side} +[\d.,]+ +[\d.,]+ +[\d.,]+  images/s", out, re.M)
        share = re.findall(rf"^  {side} +[\d.]+% of the eager limit", out, re.M)
        assert len(rate) == len(share) == 1, out
    assert "RANDOM images" in out
    assert "not measured" not in out
    assert re.search(r"geometric mean +\d+\.\d\d  times", out)


@pytest.mark.slow
def test_small_part_measures_every_side() -> None:
    out = trial("--part", "small", "--repeats", "1", "--slots", "1", "auto", "--n", "1")
    for side in ("plain, loaders", "plain, images on the device", "dsd, 1 slot", "dsd, auto slots"):
        assert len(re.findall(rf"^  {side} +[\d.,]+ +[\d.,]+ +[\d.,]+  networks/hour", out, re.M)) \
            == 2, out  # fmt: skip
    assert "256 + 2000 RANDOM images in place of cifar10's" in out
    assert "images of fashion-mnist-5k" in out
    assert "not measured" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--slots", "two"), "numbers from 1, or auto, would work"),
        (("--minutes", "0"), "a number above 0 would work"),
        (("--device", "gpu"), "'gpu' is no device; cpu, cuda:0"),
    ],
)
def test_wrong_input_is_told_in_a_line(
    words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["training_gpu.py", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert said in (f"{left.value}{capsys.readouterr().err}").splitlines()[-1]


def test_ratios_are_between_blocks_of_one_turn_and_the_better_plain_loop() -> None:
    sides = {"plain fp32 NCHW": [2.0, 4.0], "plain bf16 NCHW": [8.0, 5.0],
             "plain bf16 channels_last": [3.0, 1.0], "dsd bf16": [16.0, 20.0]}  # fmt: skip
    assert compared(sides) == {
        "dsd bf16 against plain fp32 NCHW": [8.0, 5.0],
        "dsd bf16 against the better plain bf16": [2.0, 4.0],
    }
    assert compared({"dsd bf16": [1.0]}) == {}


def test_the_references_flag_does_not_stay() -> None:
    before = torch.backends.cudnn.benchmark
    with reference_flags():
        assert torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark == before


def test_commands_are_those_of_a_user() -> None:
    gpu, cpu = torch.device("cuda", 1), torch.device("cpu")
    assert command(gpu, "auto") == ["worker", "--gpu", "1", "--slots", "auto", "--exit-when-empty"]
    assert command(gpu, "1") == ["worker", "--gpu", "1", "--exit-when-empty"]
    assert command(cpu, "2") == ["launch", "local", "--cpu", "--slots", "2"]


def test_no_script_hides_a_module_of_the_library() -> None:
    """A script's folder comes first on the path: a profile.py there would break cProfile."""
    names = {path.stem for path in Path(BENCHMARKS).glob("*.py")}
    assert not names & sys.stdlib_module_names
