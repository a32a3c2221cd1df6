"""Modules: they train, and start from the weights that the seed and the fan-out say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from dsd.net.arch import Arch, Stage, Stem
from dsd.net.build import build
from tests.net.strategies import archs


def network(block, d, w, g):
    return Arch(Stem(), tuple(Stage(*s, 1, g) for s in zip(d, w, strict=True)), block)


@settings(deadline=None, max_examples=15)
@given(arch=archs)
def test_every_network_trains_one_step(arch):
    net = build(arch)
    logits = net(torch.randn(2, arch.stem.inputs, 32, 32))
    assert logits.shape == (2, arch.classes)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_weights_follow_the_fan_out_rule_and_the_global_seed():
    arch = network("X", (1, 2, 7, 12), (32, 64, 160, 400), 16)
    torch.manual_seed(3)
    first = build(arch)
    torch.manual_seed(3)
    second = build(arch)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    stem = first[0][0].weight
    assert stem.std().item() == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.15)
