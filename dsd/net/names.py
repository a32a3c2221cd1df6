"""How other libraries name a network's parameters, and how each of them builds it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dsd.errors import UsageError
from dsd.net.arch import Arch

ANY = "--format dsd and --format onnx hold any network"
_CONV = ("weight",)
_AFFINE = ("weight", "bias")
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Library:
    """The parts of a RegNet as a library names them; it counts a stage's blocks from `first`."""

    name: str
    conv: str
    norm: str
    block: str
    first: int
    skip: str
    main: tuple[str, str, str]
    squeeze: str
    excite: str
    head: str


TORCHVISION = Library(
    "torchvision", "0", "1", "trunk_output.block{i}.block{i}-{j}", 0, "proj",
    ("f.a", "f.b", "f.c"), "f.se.fc1", "f.se.fc2", "fc",
)  # fmt: skip
TIMM = Library(
    "timm", "conv", "bn", "s{i}.b{j}", 1, "downsample",
    ("conv1", "conv2", "conv3"), "se.fc1", "se.fc2", "head.fc",
)  # fmt: skip


def tensor_names(arch: Arch, library: Library) -> dict[str, str]:
    """dsd's name of each tensor -> the library's, in its RegNet. Raises UsageError."""
    _check(arch, library.name)
    return dict(_names(arch, library))


def torchvision_call(arch: Arch) -> str:
    """Python that builds the network by torchvision's names. Raises UsageError."""
    _check(arch, "torchvision")
    stages, stem = arch.stages, arch.stem
    parameters: dict[str, Any] = {
        "depths": [s.d for s in stages],
        "widths": [s.w for s in stages],
        "group_widths": [s.bottleneck if arch.block == "R" else s.g for s in stages],
        "bottleneck_multipliers": [_ratio(s.bottleneck / s.w) for s in stages],
        "strides": [s.stride for s in stages],
    }
    if arch.block == "Y":
        parameters["se_ratio"] = 0.25
    block = ", ".join(f"{key}={value}" for key, value in parameters.items())
    more = f"num_classes={arch.classes}, stem_width={stem.width}"
    more += ", activation=torch.nn.SiLU" * (arch.activation == "silu")
    if (stem.inputs, stem.kernel, stem.stride) != (3, 3, 2):
        shape = f"{stem.inputs}, w, {stem.kernel}, {stem.stride}"
        more += (f", stem_type=lambda _, w, norm, act: Conv2dNormActivation({shape}, "
                 "norm_layer=norm, activation_layer=act)")  # fmt: skip
    return f"RegNet(BlockParams({block}), {more})"


def timm_call(arch: Arch, line: tuple[float, float, float] | None) -> str:
    """Python that builds the network by timm's names, from its w0, wa, wm. Raises UsageError.

    timm's RegNet knows widths on a quantised line alone, in four stages of stride 2.
    """
    _check(arch, "timm")
    stages, stem = arch.stages, arch.stem
    fits = (stem.kernel, stem.stride) == (3, 2) and [s.stride for s in stages] == [2] * 4
    ratios = {_ratio(s.bottleneck / s.w) for s in stages}
    if not fits or len(ratios) != 1:
        raise UsageError("timm's RegNet has a 3x3 stem of stride 2, four stages of stride 2 and "
                         f"one b: --format torchvision may do; {ANY}.")  # fmt: skip
    if line is None:
        raise UsageError("timm's RegNet has widths on a quantised line; no w0, wa, wm of this "
                         f"network are known: --format torchvision may do; {ANY}.")  # fmt: skip
    w0, wa, wm = line
    parameters = {
        "depth": arch.d, "w0": int(w0), "wa": wa, "wm": wm,
        "group_size": 1 << 20 if arch.block == "R" else max(s.g for s in stages),
        "bottle_ratio": ratios.pop(), "se_ratio": 0.25 if arch.block == "Y" else 0.0,
        "stem_width": stem.width, "act_layer": repr(arch.activation),
    }  # fmt: skip
    config = ", ".join(f"{key}={value}" for key, value in parameters.items())
    return f"RegNet(RegNetCfg({config}), in_chans={stem.inputs}, num_classes={arch.classes})"


def _check(arch: Arch, library: str) -> None:
    if arch.block not in ("X", "Y", "R"):
        raise UsageError(f"{library}'s RegNet has no block {arch.block}, only X, Y and R: {ANY}.")
    if arch.block == "Y" and min(arch.stem.width, *(s.w for s in arch.stages)) < 3:
        raise UsageError(f"{library} squeezes 1 or 2 channels to none, dsd to one: {ANY}.")
    if arch.stem.pool:
        raise UsageError(f"{library}'s RegNet has no max-pool in its stem: {ANY}.")


def _ratio(x: float) -> float | int:
    return int(x) if x == int(x) else x


def _names(arch: Arch, theirs: Library) -> Iterator[tuple[str, str]]:
    """Pairs of names, as `dsd.net.build` makes the modules and the library's pattern says."""

    def conv(mine: str, other: str) -> Iterator[tuple[str, str]]:
        for k, (part, tensors) in enumerate(((theirs.conv, _CONV), (theirs.norm, _NORM))):
            yield from ((f"{mine}.{k}.{t}", f"{other}.{part}.{t}") for t in tensors)

    yield from conv("0", "stem")
    w_in = arch.stem.width
    for i, stage in enumerate(arch.stages, 1):
        for j in range(stage.d):
            mine, other = f"{i}.{j}", theirs.block.format(i=i, j=j + theirs.first)
            if j == 0 and (w_in != stage.w or stage.stride != 1):
                yield from conv(f"{mine}.skip", f"{other}.{theirs.skip}")
            places = (0, 1, 3) if arch.block == "Y" else (0, 1, 2)
            for place, name in zip(places, theirs.main, strict=True):
                yield from conv(f"{mine}.main.{place}", f"{other}.{name}")
            gate = {"squeeze": theirs.squeeze, "excite": theirs.excite} if arch.block == "Y" else {}
            for name, their in gate.items():
                yield from ((f"{mine}.main.2.{name}.{t}", f"{other}.{their}.{t}") for t in _AFFINE)
        w_in = stage.w
    for t in _AFFINE:
        yield f"{len(arch.stages) + 3}.{t}", f"{theirs.head}.{t}"
