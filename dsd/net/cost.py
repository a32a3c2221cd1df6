"""Exact cost: flops (multiply-adds), params, acts; of one network or of a million at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dsd.net.arch import Arch, Stage, Stem
from dsd.net.blocks import BLOCKS, Block, Conv, Int, Layer, SqueezeExcite


@dataclass(frozen=True)
class Cost:
    """flops in multiply-adds of one forward pass; params; acts in output elements."""

    flops: Int = 0
    params: Int = 0
    acts: Int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.params + other.params, self.acts + other.acts)

    def times(self, count: Int) -> Cost:
        """The cost of `count` such parts."""
        return Cost(self.flops * count, self.params * count, self.acts * count)

    def as_dict(self) -> dict[str, Any]:
        """By column name."""
        return {"flops": self.flops, "params": self.params, "acts": self.acts}


def cost(arch: Arch, resolution: int) -> Cost:
    """Cost of one network at resolution x resolution pixels."""
    return network_cost(arch.stem, arch.stages, arch.block, arch.classes, resolution)


def network_cost(
    stem: Stem, stages: Sequence[Stage], block: str, classes: int, resolution: int
) -> Cost:
    """The same for stages whose d, w, b, g are arrays (n,): one cost for each of n networks.

    Convolutions and the classifier count, its bias included; BN and pooling add no flops.
    """
    total, r = _stem_cost(stem, resolution)
    w_in: Int = stem.width
    for stage in stages:
        r_in, r = r, strided(r, stage.stride)
        first = BLOCKS[block](w_in, stage.w, stage.b, stage.g, stage.stride)
        other = BLOCKS[block](stage.w, stage.w, stage.b, stage.g, 1)
        total += block_cost(first, r_in) + block_cost(other, r).times(stage.d - 1)
        w_in = stage.w
    head = w_in * classes + classes
    return total + Cost(head, head, classes)


def block_cost(block: Block, resolution: int) -> Cost:
    """Cost of one block whose input is resolution x resolution."""
    total, r = Cost(), resolution
    for layer in block.main:
        r = strided(r, layer.stride) if isinstance(layer, Conv) else r
        total += layer_cost(layer, r)
    return total if block.skip is None else total + layer_cost(block.skip, r)


def layer_cost(layer: Layer, r: int) -> Cost:
    """Cost of one layer whose output is r x r."""
    if isinstance(layer, SqueezeExcite):
        weights = 2 * layer.w * layer.w_se + layer.w + layer.w_se
        return Cost(weights, weights, layer.w + layer.w_se)
    per_output = layer.w_in if layer.g is None else layer.g
    weights = layer.k**2 * per_output * layer.w_out
    cost = Cost(weights * r**2, weights + 2 * layer.w_out, layer.w_out * r**2)
    return cost if layer.present is True else cost.times(layer.present)


def strided(r: int, stride: int) -> int:
    """Output side of an odd kernel with padding k // 2."""
    return (r - 1) // stride + 1


def _stem_cost(stem: Stem, resolution: int) -> tuple[Cost, int]:
    r = strided(resolution, stem.stride)
    total = layer_cost(Conv(stem.inputs, stem.width, stem.kernel, stem.stride), r)
    if not stem.pool:
        return total, r
    r = strided(r, 2)
    return total + Cost(acts=stem.width * r**2), r
