"""Times of networks: ordered, of the right thing, and aware of other work."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from dsd.errors import DsdError, UsageError
from dsd.train.device import hardware, named_device
from dsd.train.timing import LEAST, _sampled, measure
from tests.train.conftest import make_regime, small_arch


def test_a_deeper_network_takes_longer_and_training_longer_than_inference(cpu):
    shallow, deep = (
        measure(small_arch(depth=depth), make_regime(), cpu, 8, 0.05) for depth in (1, 24)
    )
    for times in (shallow, deep):
        for one in (times.inference, times.training):
            assert 0 < one.low <= one.median <= one.high
            assert one.n >= LEAST
        assert times.inference.low < times.training.low
    assert deep.inference.low > 1.5 * shallow.inference.low  # about ten times, on a quiet machine
    assert deep.training.low > 1.5 * shallow.training.low
    row = deep.as_dict()
    assert row["training_ms"] == deep.training.median
    assert row["samples"] == max(deep.inference.n, deep.training.n)


def test_other_work_is_seen(cpu):
    burn = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert measure(small_arch(), make_regime(), cpu, 4, 0.3).others > 0.2
    finally:
        burn.kill()
        burn.wait()


def test_too_little_memory_is_no_time_and_anything_else_an_error(cpu):
    def raising(error):
        def step():
            raise error

        return step

    assert _sampled(raising(torch.cuda.OutOfMemoryError("no")), cpu, 0.0) is None
    with pytest.raises(ZeroDivisionError):
        _sampled(raising(ZeroDivisionError()), cpu, 0.0)


def test_devices_by_name():
    assert named_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="'tpu' is no device; cpu, cuda:0"):
        named_device("tpu")
    with pytest.raises(DsdError, match="no device cuda:99; there is cpu"):
        named_device("cuda:99")
    assert hardware(torch.device("cpu")).startswith("CPU ")
