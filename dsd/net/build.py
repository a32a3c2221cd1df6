"""A network as a torch module, made from the same layer lists that its cost sums over."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dsd.net.arch import Arch, Stage, Stem
from dsd.net.blocks import BLOCKS, Block, Conv, Layer, SqueezeExcite

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU}


def build(arch: Arch) -> nn.Module:
    """A module: images (n, inputs, r, r) -> logits (n, classes).

    Weights come from torch's global generator: convolutions N(0, sqrt(2 / fan_out)), the classifier
    N(0, 0.01), BN at one and zero. Raises ValueError if g does not divide w_b in some stage.
    """
    act = ACTIVATIONS[arch.activation]
    widths = [arch.stem.width, *(stage.w for stage in arch.stages)]
    stages = [
        _stage(stage, w_in, arch.block, act)
        for stage, w_in in zip(arch.stages, widths, strict=False)
    ]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], arch.classes)]
    net = nn.Sequential(_stem(arch.stem, act), *stages, *head)
    net.apply(_initialize)
    return net


class SqueezeExciteModule(nn.Module):
    """x * sigmoid(W2 act(W1 mean(x)))."""

    def __init__(self, layer: SqueezeExcite, act: type[nn.Module]) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(layer.w, layer.w_se, 1)
        self.act = act()
        self.excite = nn.Conv2d(layer.w_se, layer.w, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, w, r, r) -> (n, w, r, r)."""
        pooled = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(self.act(self.squeeze(pooled))))


class BlockModule(nn.Module):
    """The chain of layers; with a skip, act(skip(x) + main(x))."""

    def __init__(self, block: Block, act: type[nn.Module]) -> None:
        super().__init__()
        projected = block.skip is not None and bool(block.skip.present)
        self.skip = _layer(block.skip, act) if projected else nn.Identity()
        self.main = nn.Sequential(*(_layer(layer, act) for layer in block.main))
        self.residual = block.skip is not None
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        """(n, w_in, r, r) -> (n, w, r', r')."""
        y = self.main(x)
        return self.act(self.skip(x) + y) if self.residual else y


def _stem(stem: Stem, act: type[nn.Module]) -> nn.Module:
    conv = _layer(Conv(stem.inputs, stem.width, stem.kernel, stem.stride), act)
    return nn.Sequential(conv, nn.MaxPool2d(3, 2, padding=1)) if stem.pool else conv


def _stage(stage: Stage, w_in: int, block: str, act: type[nn.Module]) -> nn.Module:
    describe = BLOCKS[block]
    first = describe(w_in, stage.w, stage.b, stage.g, stage.stride)
    other = describe(stage.w, stage.w, stage.b, stage.g, 1)
    return nn.Sequential(*(BlockModule(b, act) for b in [first] + [other] * (stage.d - 1)))


def _layer(layer: Layer | None, act: type[nn.Module]) -> nn.Module:
    if isinstance(layer, SqueezeExcite):
        return SqueezeExciteModule(layer, act)
    assert layer is not None
    conv = nn.Conv2d(
        layer.w_in,
        layer.w_out,
        layer.k,
        layer.stride,
        padding=layer.k // 2,
        groups=1 if layer.g is None else layer.w_in // layer.g,
        bias=False,
    )
    norm = nn.BatchNorm2d(layer.w_out, eps=1e-5, momentum=0.1)
    return nn.Sequential(conv, norm, *([act()] if layer.act else []))


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01)
        nn.init.zeros_(module.bias)
