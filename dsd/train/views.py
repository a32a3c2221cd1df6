"""What of an image a network sees, drawn without its pixels: torchvision's draws, in its order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F


@dataclass(frozen=True)
class View:
    """A box of an image, resized to `size`, of that windows in turn (black outside), or mirrored.

    All in pixels: `box` (top, left, height, width), `size` (height, width), a window (top, left,
    side).
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    windows: tuple[tuple[int, int, int], ...] = ()
    mirrored: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of what is seen."""
        return (self.windows[-1][2],) * 2 if self.windows else self.size


def view_of(steps: v2.Compose, height: int, width: int) -> View:
    """What the steps would show of an image of this size; draws from torch's CPU generator.

    Under the same seed the same boxes and mirrorings as if the steps were done to the image.
    Raises TypeError for a step that it does not know, or not at that place.
    """
    view = View((0, 0, height, width), (height, width))
    for step in steps.transforms:
        view = _after(view, step)
    return view


def seen(pixels: Any, view: View) -> Any:
    """What is seen of the box's own pixels: a tensor (c, h, w) uint8, or an image of Pillow's."""
    pixels = F.resize(pixels, list(view.size))
    for top, left, side in view.windows:
        pixels = F.crop(pixels, top, left, side, side)
    return F.horizontal_flip(pixels) if view.mirrored else pixels


def _after(view: View, step: Any) -> View:
    match step:
        case v2.RandomResizedCrop() if view == View(view.box, view.box[2:]):
            drawn = step.make_params([_blank(view.shape)])
            box = (drawn["top"], drawn["left"], drawn["height"], drawn["width"])
            return replace(view, box=box, size=tuple(step.size))
        case v2.Resize() if not view.windows:
            return replace(view, size=_short_side(view.shape, step.size[0]))
        case v2.CenterCrop():
            top, left = (_central(side, step.size[0]) for side in view.shape)
            return replace(view, windows=(*view.windows, (top, left, step.size[0])))
        case v2.RandomCrop():
            drawn = step.make_params([_blank(view.shape)])
            left, top = (drawn[key] - drawn["padding"][i] for i, key in enumerate(("left", "top")))
            return replace(view, windows=(*view.windows, (top, left, step.size[0])))
        case v2.RandomHorizontalFlip():
            return replace(view, mirrored=bool(torch.rand(1) < step.p))
        case v2.PILToTensor():
            return view
    raise TypeError(f"{type(step).__name__} cannot be drawn here.")


def _blank(shape: tuple[int, int]) -> torch.Tensor:
    """An image of a size, without pixels."""
    return torch.empty((3, *shape), device="meta")


def _short_side(shape: tuple[int, int], short: int) -> tuple[int, int]:
    """The size at which the short side is `short`; the long one is rounded down."""
    height, width = (short * side / min(shape) for side in shape)
    return int(height), int(width)


def _central(side: int, crop: int) -> int:
    """Where a crop in the middle begins: before the image if that is smaller."""
    return round((side - crop) / 2) if side >= crop else -((crop - side) // 2)
