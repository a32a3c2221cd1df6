"""What each block is made of, once: cost sums over these layers, build turns them into modules.

Every width may be an int or an int64 array (n,) of as many candidates: one description serves both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Int = Any  # an int, or an int64 array (n,)


@dataclass(frozen=True)
class Conv:
    """k x k convolution without bias + BN, an activation if `act`; absent where not `present`.

    `g` channels share a group; None is one group of all.
    """

    w_in: Int
    w_out: Int
    k: int
    stride: int = 1
    g: Int | None = None
    act: bool = True
    present: Any = True


@dataclass(frozen=True)
class SqueezeExcite:
    """Global average pool, two 1x1 convolutions with bias (w -> w_se -> w), gate by sigmoid."""

    w: Int
    w_se: Int


Layer = Conv | SqueezeExcite


@dataclass(frozen=True)
class Block:
    """A chain of layers, and the skip added to it: None, or a projection that may be absent."""

    main: tuple[Layer, ...]
    skip: Conv | None


def bottleneck_block(w_in: Int, w: Int, b: Any, g: Int, stride: int, se: bool = False) -> Block:
    """X (RegNet, fig. 4), and Y with squeeze-and-excitation after the 3x3 (section 3.4)."""
    w_b = rounded(w / b)
    gate = (SqueezeExcite(w_b, rounded(w_in / 4)),) if se else ()
    main = (
        Conv(w_in, w_b, 1),
        Conv(w_b, w_b, 3, stride, g),
        *gate,
        Conv(w_b, w, 1, act=False),
    )
    return Block(main, projection(w_in, w, stride))


def projection(w_in: Int, w: Int, stride: int) -> Conv:
    """The skip's strided 1x1 + BN, present where stride or width changes."""
    return Conv(w_in, w, 1, stride, act=False, present=(w_in != w) | (stride != 1))


def x_block(w_in: Int, w: Int, b: Any, g: Int, stride: int) -> Block:
    """Residual bottleneck with group convolution."""
    return bottleneck_block(w_in, w, b, g, stride)


def y_block(w_in: Int, w: Int, b: Any, g: Int, stride: int) -> Block:
    """X + SE, squeezed to a quarter of the block's input width."""
    return bottleneck_block(w_in, w, b, g, stride, se=True)


def r_block(w_in: Int, w: Int, b: Any, g: Int, stride: int) -> Block:
    """X without groups (appendix D)."""
    return bottleneck_block(w_in, w, b, rounded(w / b), stride)


def v_block(w_in: Int, w: Int, b: Any, g: Int, stride: int) -> Block:
    """One 3x3 convolution, no residual (appendix D)."""
    return Block((Conv(w_in, w, 3, stride),), None)


def vr_block(w_in: Int, w: Int, b: Any, g: Int, stride: int) -> Block:
    """V with a residual (appendix D)."""
    return Block((Conv(w_in, w, 3, stride, act=False),), projection(w_in, w, stride))


BLOCKS: dict[str, Callable[[Int, Int, Any, Int, int], Block]] = {
    "X": x_block,
    "Y": y_block,
    "R": r_block,
    "V": v_block,
    "VR": vr_block,
}


# What a block does not read: two draws that differ only there build the same network.
IGNORES: dict[str, tuple[str, ...]] = {"R": ("g",), "V": ("b", "g"), "VR": ("b", "g")}


def rounded(x: Any) -> Int:
    """Nearest whole number, half to even, at least 1; of a number or of an array."""
    whole = np.maximum(1, np.rint(x))
    return whole.astype(np.int64) if isinstance(whole, np.ndarray) else int(whole)
