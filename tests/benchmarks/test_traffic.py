"""Bytes that must move: a network counted by hand, then laws."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from traffic import _elements, traffic

from dsd.net.arch import Arch, Stage, Stem
from dsd.net.build import build
from dsd.net.cost import cost
from dsd.space.networks import published_network
from tests.net.strategies import archs

X, A = 16, 8 * 16  # elements of an image, and of every map of the network below


@pytest.mark.parametrize(
    ("fused", "forward", "backward"),
    [
        # convolutions (X + A) + 2A; sum 3A; pool A; batch norms 2 x 3A and ReLUs 2 x 2A if eager.
        # Backward: pool A; convolutions (A + X) + 4A; the block's input gathers gradients 3A;
        # batch norms 2 x 5A and ReLUs 2 x 3A if eager, one more read of each norm's input if fused.
        (False, X + 17 * A, X + 25 * A),
        (True, X + 7 * A, X + 11 * A),
    ],
)
def test_a_network_counted_by_hand(fused: bool, forward: int, backward: int) -> None:
    """A stem and one VR block of 8 channels at 4 x 4, both of stride 1; ten classes."""
    arch = Arch(Stem(1, 8, 3, 1), (Stage(1, 8, 1, 1, stride=1),), block="VR", classes=10)
    head = 8 + (8 + 10) + (10 + 10) + (10 + 1)  # pooled, classifier, log-softmax, loss
    head += (10 + 1 + 10) + (10 + 10 + 10) + (10 + 8) + (10 + 8) + 10 + 8  # and back
    assert traffic(arch, 4, "fp32", fused).image == 4 * (forward + backward + head)
    assert traffic(arch, 4, "bf16", fused).image == 2 * (forward + backward + head)


def test_weights_move_once_a_step() -> None:
    """Each is read forward and backward, its gradient written; then the optimiser. BN adds some."""
    arch = published_network("regnetx-400mf")
    params = cost(arch, 64).params
    assert 32 * params < traffic(arch, 64, "fp32").step < 1.02 * 32 * params
    assert 38 * params < traffic(arch, 64, "bf16").step < 1.02 * 38 * params


def test_regnetx_400mf() -> None:
    """An estimate made apart from this one said about 125 MB an image in bf16, 260 in fp32."""
    arch = published_network("regnetx-400mf")
    assert traffic(arch, 224, "bf16").each(128) == pytest.approx(125e6, rel=0.06)


@settings(max_examples=4, deadline=None)
@given(archs)
def test_linear_in_the_batch_and_never_less_when_fused(arch: Arch) -> None:
    try:
        with torch.device("meta"):
            net = build(arch)
    except ValueError:
        assume(False)
    two, four, eight = (_elements(net, arch, 16, batch, False) for batch in (2, 4, 8))
    assert eight - four == 2 * (four - two) > 0
    assert 0 < _elements(net, arch, 16, 4, True) < four
