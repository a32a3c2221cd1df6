"""Choosing a device, and what is written down about it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

import dsd
from dsd.errors import DsdError, UsageError
from dsd.train.device import commit, device_name, pick_device, prepare, provenance

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")


@no_gpu
def test_a_gpu_that_is_not_there_names_the_cpu():
    with pytest.raises(DsdError, match=r"no CUDA device.*--cpu") as caught:
        pick_device(gpu=0)
    assert caught.value.exit_code == 1
    assert pick_device() == torch.device("cpu")


def test_the_cpu_can_be_asked_for():
    assert pick_device(cpu=True) == torch.device("cpu")
    with pytest.raises(UsageError, match="exclude each other"):
        pick_device(gpu=0, cpu=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_preferred_and_checked():
    assert pick_device() == torch.device("cuda:0")
    with pytest.raises(DsdError, match="numbered from 0"):
        pick_device(gpu=torch.cuda.device_count())


def test_a_cpu_worker_uses_one_thread():
    prepare(torch.device("cpu"))
    assert torch.get_num_threads() == 1
    assert device_name(torch.device("cpu")).startswith("CPU (")


def test_provenance_says_what_made_a_result():
    known = provenance(torch.device("cpu"))
    assert known["dsd"] == dsd.__version__
    assert known["torch"] == torch.__version__
    assert "cuda" not in known
    assert all(known.values())


def test_an_installed_package_has_no_commit(tmp_path: Path):
    assert commit(tmp_path / "dsd" / "train") == ""


def test_a_checkout_tells_its_commit_and_whether_it_has_changed(tmp_path: Path):
    (tmp_path / "dsd" / "train").mkdir(parents=True)
    (tmp_path / "file").write_text("a")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    clean = commit(tmp_path / "dsd" / "train")
    assert len(clean) == 40
    (tmp_path / "file").write_text("b")
    assert commit(tmp_path / "dsd" / "train") == f"{clean}-dirty"
