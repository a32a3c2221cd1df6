"""Choosing a device, and what is written down about it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

import dsd
from dsd.errors import DsdError, UsageError
from dsd.train.device import (
    commit,
    device_name,
    gpus,
    hardware,
    named_device,
    peak_memory,
    pick_device,
    prepare,
    provenance,
)
from dsd.train.how import How

no_gpu = pytest.mark.skipif(bool(gpus()), reason="needs a machine without a GPU")


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_preferred_and_checked():
    assert pick_device() == torch.device("cuda:0")
    with pytest.raises(DsdError, match="numbered from 0"):
        pick_device(gpu=torch.cuda.device_count())


MPS = torch.device("mps")


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch with Apple's backend and no CUDA, where any call of torch.cuda beyond that fails."""

    def refused(*given: object, **named: object) -> None:
        raise AssertionError("torch.cuda was asked")

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("device_count", "set_device", "get_device_name", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, refused)


def test_apples_gpu_is_found_and_named(apple: None) -> None:
    assert gpus() == [MPS]
    assert pick_device() == pick_device(gpu=0) == named_device("mps") == MPS
    assert pick_device(cpu=True) == named_device("cpu") == torch.device("cpu")
    with pytest.raises(DsdError, match=r"--gpu 1: this machine has 1, numbered from 0"):
        pick_device(gpu=1)
    with pytest.raises(DsdError, match="no device cuda:0; there is cpu, mps"):
        named_device("cuda:0")
    prepare(MPS)
    assert hardware(MPS).endswith(", MPS")
    assert device_name(MPS) == f"GPU 0 ({hardware(MPS)})"
    assert How().choice(MPS) == "contiguous"
    known = provenance(MPS)
    assert known["device"] == device_name(MPS)
    assert not {"cuda", "hip", "tf32"} & set(known)


def test_apples_memory_is_what_metal_holds(apple: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 12345)
    assert peak_memory(MPS) == 12345


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_provenance_on_a_gpu_says_cuda_or_hip_and_what_tf32_is_allowed_in() -> None:
    known = provenance(torch.device("cuda:0"))
    assert ("cuda" in known) != ("hip" in known)
    assert known["tf32"] == "conv", "torch's default"


@pytest.mark.parametrize(
    ("conv", "matmul", "said"),
    [(True, False, "conv"), (True, True, "conv, matmul"), (False, False, "none")],
)
def test_tf32_is_told_for_convolutions_and_products(conv, matmul, said, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA Some")
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    assert before == (True, False), "what docs/devices.md says torch allows"
    try:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = conv, matmul
        known = provenance(torch.device("cuda:1"))
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
    assert known["tf32"] == said
    assert known["device"] == "GPU 1 (NVIDIA Some)"


def test_rocm_says_hip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "AMD Some")
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", "6.4")
    known = provenance(torch.device("cuda:0"))
    assert known["hip"] == "6.4"
    assert "cuda" not in known


def test_a_cpu_worker_uses_one_thread():
    prepare(torch.device("cpu"))
    assert torch.get_num_threads() == 1
    assert device_name(torch.device("cpu")).startswith("CPU (")


def test_provenance_says_what_made_a_result():
    known = provenance(torch.device("cpu"))
    assert known["dsd"] == dsd.__version__
    assert known["torch"] == torch.__version__
    assert not {"cuda", "hip", "tf32"} & set(known)
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
