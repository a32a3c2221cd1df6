"""A training pass never waits for the device, and keeps to numbers that every device has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from dsd.net.arch import Stem
from dsd.net.build import build
from dsd.train.data import Dataset
from dsd.train.images import Images
from dsd.train.loop import Session
from dsd.train.mapped import Mapped
from tests.train.conftest import make_regime, random_images, small_arch

COLOUR = {"stem": {"inputs": 3}, "augment": {"mean": [0.5] * 3, "std": [0.25] * 3}}
KINDS = {
    "pad crop": ({"crop": "pad"}, {}),
    "random-resized crop and lighting": ({"crop": "random-resized", "lighting": 0.1}, {}),
    "averaged, decay apart": ({}, {"ema": 0.9, "bn_weight_decay": False, "label_smoothing": 0.1}),
    "bf16, rates by the step": ({}, {"precision": "bf16", "schedule": "cosine-step"}),
}
READ = {  # each has the host look at a value, or at a size that depends on values
    "__bool__", "__complex__", "__float__", "__index__", "__int__", "cpu", "equal", "is_nonzero",
    "item", "masked_select", "nonzero", "numpy", "tolist", "unique",
}  # fmt: skip


class Reading(AssertionError):
    """A value of a tensor was read."""


class Methods(TorchFunctionMode):
    """Refuses what reads a tensor's values in Python; on a CPU some of it reaches no kernel."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in READ:
            raise Reading(func.__name__)
        return func(*args, **(kwargs or {}))


class Kernels(TorchDispatchMode):
    """Refuses kernels that wait for the device, and any result of 64-bit floating point."""

    waiting = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masked = name.startswith("index") and any(map(is_mask, args[1:2]))
        if name in self.waiting or masked:
            raise Reading(str(func))
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else [out]:
            if isinstance(value, torch.Tensor) and value.dtype == torch.float64:
                raise AssertionError(f"{func} is in float64")
        return out


def is_mask(indices: Any) -> bool:
    """Whether an index is a mask: how many it selects is known only to the device."""
    parts = indices if isinstance(indices, list | tuple) else []
    return any(isinstance(part, torch.Tensor) and part.dtype == torch.bool for part in parts)


@contextmanager
def never_read() -> Iterator[None]:
    with Methods(), Kernels():
        yield


def session(kind: str, device: torch.device) -> Session:
    augment, recipe = KINDS[kind]
    tables = {**COLOUR, "augment": {**COLOUR["augment"], **augment}}
    regime = make_regime(kind, **tables, train={"batch": 16, **recipe})
    split = random_images(64, channels=3)
    there = Images(split.pixels.to(device), split.labels.to(device))
    model = build(replace(small_arch(), stem=Stem(inputs=3, width=8)))
    return Session.start(model, regime, Dataset(there, there, ""), device, 3, lambda: False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_pass_reads_no_tensor(kind: str) -> None:
    one = session(kind, torch.device("cpu"))
    with never_read():
        tally = one.train_pass(0)
    assert tally.images == 64
    loss, error, _ = tally.means()
    assert loss > 0
    assert 0 < error <= 100


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(), lambda x: x.tolist(), lambda x: x.cpu(), lambda x: bool(x[0] > 0),
        lambda x: x[x > 0], lambda x: float(x[0]), lambda x: x.numpy(), lambda x: x.nonzero(),
        lambda x: [0, 1][(x[0] > 0).long()], lambda x: x.double(), lambda x: torch.equal(x, x),
    ],
)  # fmt: skip
def test_reading_is_seen(read: Any) -> None:
    with pytest.raises(AssertionError), never_read():
        read(torch.ones(3))


@pytest.mark.gpu
@pytest.mark.parametrize("mapped", [False, True], ids=["tensors", "a map held on the GPU"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_pass_never_waits_for_the_gpu(kind: str, mapped: bool) -> None:
    device = torch.device("cuda:0")
    one = session(kind, device)
    if mapped:
        split = one.dataset.train
        held = Mapped(split.pixels, split.labels, torch.arange(64), device, lambda images: images)
        one = replace(one, dataset=replace(one.dataset, train=held))
    one.epoch(0)  # what torch settles once, such as its libraries' workspaces, may wait
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="synchroniz"):
            torch.ones(1, device=device).item()
        tally = one.train_pass(1)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    assert tally.means()[0] > 0
