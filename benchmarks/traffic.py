"""Bytes that one step of training must move through memory, from the network alone.

python benchmarks/traffic.py regnetx-400mf [--resolution 224] [--batch 128]

The step (forward, loss, backward) is traced on torch's meta device, which computes nothing, so all
blocks and all operators count, residual sums and squeeze-and-excitation included. Two models:

- eager: each operator is a kernel that reads its operands from memory and writes its results.
  Batch norm needs two passes: forward it reads its input for the statistics and again to normalise;
  backward it reads input and gradient for the sums and again for the gradient it writes. A
  convolution's backward is two kernels, so it reads the gradient of its output twice.
- fused: batch norm and activations ride on the convolutions beside them and move nothing of their
  own, but for one more read of batch norm's input in the backward pass.

Traffic of weights comes once a step: each operator's own, the optimiser's (weight, gradient and
momentum read, weight and momentum written, fp32) and, in bf16, the casts of weights and gradients.
Images are counted from the normalised batch on. Random resized crops, flips and normalisation of
256 to 224 pixels move about 12 MB an image more, a tenth of RegNetX-400MF's in bf16.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dsd.net.arch import Arch
from dsd.net.build import build

BYTES = {"fp32": 4, "bf16": 2}
OPTIMISER = 5 * 4  # a parameter: weight, gradient, momentum read; weight, momentum written
CASTS = {"fp32": 0, "bf16": (4 + 2) + (2 + 4)}  # a parameter: weight to bf16, gradient to fp32
FREE = ("empty", "detach", "alias", "ones_like", "zeros")
ACTIVATIONS = ("relu", "threshold_backward", "silu")


@dataclass(frozen=True)
class Traffic:
    """Bytes to move: `image` for each image of a batch, `step` once for the batch."""

    image: float
    step: float

    def each(self, batch: int) -> float:
        """Bytes an image in batches of this size."""
        return self.image + self.step / batch


@dataclass
class Moved(TorchDispatchMode):
    """Elements that the operators run under it read and write."""

    fused: bool
    elements: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        """Run an operator and count what it moves."""
        out = func(*args, **(kwargs or {}))
        name = str(func)
        if not func.is_view and not any(part in name for part in FREE):
            self.elements += self.moved(name, _tensors((args, kwargs)), _tensors(out))
        return out

    def moved(self, name: str, read: list[Tensor], written: list[Tensor]) -> int:
        """Elements of one operator, by the rules at the top of this file."""
        backward = "backward" in name
        if "batch_norm" in name:
            passes = read[: 1 + backward]  # the gradient and the input, or the input
            if self.fused:
                return _size(passes[1]) if backward else 0
            return sum(map(_size, [*read, *passes, *written]))
        if self.fused and any(part in name for part in ACTIVATIONS):
            return 0
        twice = read[:1] if "convolution_backward" in name and len(written) > 1 else []
        return sum(map(_size, [*read, *twice, *written]))


def traffic(arch: Arch, resolution: int, precision: str = "fp32", fused: bool = False) -> Traffic:
    """What a step of training must move. Traced at two batch sizes, as all of it is linear."""
    with torch.device("meta"):
        net = build(arch)
    few, many = (_elements(net, arch, resolution, batch, fused) for batch in (2, 4))
    image, size = (many - few) / 2, BYTES[precision]
    params = sum(part.numel() for part in net.parameters())
    constant = (few - 2 * image) * size + params * (OPTIMISER + CASTS[precision])
    return Traffic(image * size, constant)


def _elements(net: torch.nn.Module, arch: Arch, resolution: int, batch: int, fused: bool) -> int:
    images = torch.empty(batch, arch.stem.inputs, resolution, resolution, device="meta")
    labels = torch.empty(batch, dtype=torch.long, device="meta")
    with Moved(fused) as moved:
        F.cross_entropy(net(images), labels).backward()
    net.zero_grad(set_to_none=True)
    return moved.elements


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _size(tensor: Tensor) -> int:
    """Elements that lie in memory: an expanded dimension is one."""
    count = 1
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= length if stride else 1
    return count


def main() -> None:
    from dsd.space.networks import published_network

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("networks", nargs="+", help="published names, such as regnetx-400mf")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--batch", type=int, default=128)
    given = parser.parse_args()
    print(f"MB an image at {given.resolution} px in batches of {given.batch}")
    for name in given.networks:
        for precision in BYTES:
            both = [
                traffic(published_network(name), given.resolution, precision, fused)
                for fused in (False, True)
            ]
            eager, fused = (one.each(given.batch) / 1e6 for one in both)
            print(f"  {name:<20}{precision}  eager {eager:8.1f}  fused {fused:8.1f}  "
                  f"(of it weights {both[0].step / given.batch / 1e6:.1f})")  # fmt: skip


if __name__ == "__main__":
    main()
