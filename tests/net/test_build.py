"""Modules: the same outputs as torchvision's RegNet once weights are copied over."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torchvision.models import regnet_x_400mf, regnet_y_400mf

from dsd.net.arch import Arch, Stage, Stem
from dsd.net.build import build
from tests.net.strategies import archs

TWINS = [  # torchvision rounds 24.5 groups up where the paper rounds half to even: 400, not 384
    (regnet_x_400mf, "X", (1, 2, 7, 12), (32, 64, 160, 400), 16),
    (regnet_y_400mf, "Y", (1, 3, 6, 6), (48, 104, 208, 440), 8),
]


def network(block, d, w, g):
    return Arch(Stem(), tuple(Stage(*s, 1, g) for s in zip(d, w, strict=True)), block)


@pytest.mark.parametrize(("theirs", "block", "d", "w", "g"), TWINS)
def test_torchvisions_weights_give_torchvisions_output(theirs, block, d, w, g):
    torch.manual_seed(0)
    other, net = theirs(weights=None).eval(), build(network(block, d, w, g)).eval()
    for module in other.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    mine, given_state = net.state_dict(), other.state_dict()
    assert len(mine) == len(given_state)
    pairs = zip(mine, given_state.values(), strict=True)
    net.load_state_dict({name: value.clone() for name, value in pairs}, strict=True)
    images = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(net(images), other(images))
    count = [sum(p.numel() for p in m.parameters()) for m in (net, other)]
    assert count[0] == count[1]


@settings(deadline=None, max_examples=15)
@given(arch=archs)
def test_every_network_trains_one_step(arch):
    net = build(arch)
    logits = net(torch.randn(2, arch.stem.inputs, 32, 32))
    assert logits.shape == (2, arch.classes)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_weights_follow_the_fan_out_rule_and_the_global_seed():
    arch = network(*TWINS[0][1:])
    torch.manual_seed(3)
    first = build(arch)
    torch.manual_seed(3)
    second = build(arch)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    stem = first[0][0].weight
    assert stem.std().item() == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.15)
