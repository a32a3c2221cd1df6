"""Cost: the published networks first, then torch's own counters as oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from dsd.net.arch import Arch, Stage, Stem
from dsd.net.build import SqueezeExciteModule, build
from dsd.net.cost import cost, network_cost
from dsd.net.groups import Stages, buildable
from dsd.space.quantized import quantized_widths
from tests.net.strategies import archs

PUBLISHED = [
    (13, 24, 36.44, 2.49, 8, "X", 199040872, 2684792, 2164056),
    (22, 24, 24.48, 2.54, 16, "X", 397678568, 5157512, 3143272),
    (18, 80, 34.01, 2.25, 24, "X", 1602850792, 9190136, 7933512),
    (16, 48, 27.89, 2.09, 8, "Y", 401849056, 4344144, 3892496),
]
ROUNDED = [  # gigaflops, million params, million acts, as the paper's tables print them
    (16, 48, 36.97, 2.24, 24, "X", 0.6, 6.2, 4.0),
    (16, 56, 35.73, 2.28, 16, "X", 0.8, 7.3, 5.1),
    (25, 88, 26.31, 2.25, 48, "X", 3.2, 15.3, 11.4),
    (23, 80, 49.56, 2.88, 120, "X", 8.0, 39.6, 14.1),
    (13, 24, 36.44, 2.49, 8, "Y", 0.2, 3.2, 2.2),
    (14, 56, 38.84, 2.4, 16, "Y", 0.8, 6.3, 5.2),
    (27, 48, 20.71, 2.65, 24, "Y", 1.6, 11.2, 8.0),
]


def regnet(d, w0, wa, wm, g, block):
    w, depth = np.unique(quantized_widths(d, w0, wa, wm), return_counts=True)
    ones = np.ones((1, len(w)))
    drawn = Stages(depth[None], w[None], ones, (g * ones).astype(np.int64))
    built = buildable(drawn, block)
    rows = zip(*(x[0].tolist() for x in (built.d, built.w, built.b, built.g)), strict=True)
    return Arch(Stem(), tuple(Stage(*row) for row in rows), block)


@pytest.mark.parametrize("row", PUBLISHED)
def test_published_networks_cost_exactly_what_their_authors_print(row):
    *shape, flops, params, acts = row
    found = cost(regnet(*shape), 224)
    assert (found.flops, found.params, found.acts) == (flops, params, acts)


@pytest.mark.parametrize("row", ROUNDED)
def test_published_tables_agree_to_the_printed_digit(row):
    *shape, gigaflops, params, acts = row
    found = cost(regnet(*shape), 224)
    assert round(found.flops / 1e9, 1) == gigaflops
    assert (round(found.params / 1e6, 1), round(found.acts / 1e6, 1)) == (params, acts)


@settings(deadline=None, max_examples=60)
@given(arch=archs, resolution=st.integers(32, 448))
def test_params_and_flops_equal_torchs_count_on_the_meta_device(arch, resolution):
    with torch.device("meta"):
        net = build(arch).eval()
        images = torch.empty(1, arch.stem.inputs, resolution, resolution)
    with FlopCounterMode(display=False) as counter:
        net(images)
    biases = sum(
        layer.squeeze.bias.numel() + layer.excite.bias.numel()
        for layer in net.modules()
        if isinstance(layer, SqueezeExciteModule)
    )
    found = cost(arch, resolution)
    assert found.params == sum(p.numel() for p in net.parameters())
    assert found.flops == counter.get_total_flops() // 2 + biases + arch.classes


@settings(deadline=None, max_examples=30)
@given(arch=archs, resolution=st.integers(32, 448))
def test_acts_are_the_outputs_of_convolutions_classifier_and_stem_pool(arch, resolution):
    counted = []

    def count(module, inputs, output):
        counted.append(output.numel())

    with torch.device("meta"):
        net = build(arch).eval()
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear | torch.nn.MaxPool2d):
                module.register_forward_hook(count)
        net(torch.empty(1, arch.stem.inputs, resolution, resolution))
    assert cost(arch, resolution).acts == sum(counted)


@settings(deadline=None, max_examples=50)
@given(nets=st.lists(archs, min_size=2, max_size=6), resolution=st.integers(16, 64))
def test_a_column_of_networks_costs_what_each_costs_alone(nets, resolution):
    first = nets[0]
    nets = [n for n in nets if len(n.stages) == len(first.stages)]
    strides = [s.stride for s in first.stages]
    columns = [
        Stage(*(np.array([getattr(n.stages[i], p) for n in nets]) for p in "dwbg"), stride)
        for i, stride in enumerate(strides)
    ]
    many = network_cost(first.stem, columns, first.block, first.classes, resolution)
    for row, net in enumerate(nets):
        same = [
            Stage(s.d, s.w, s.b, s.g, stride) for s, stride in zip(net.stages, strides, strict=True)
        ]
        alone = network_cost(first.stem, same, first.block, first.classes, resolution)
        assert (many.flops[row], many.params[row], many.acts[row]) == (
            alone.flops,
            alone.params,
            alone.acts,
        )
