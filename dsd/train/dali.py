"""JPEGs decoded by NVIDIA DALI, an extra: on the CPU, and of each only the box that is seen.

Its decoder gives Pillow's pixels, bit for bit. They are resized as tensors, which differs by
rounding from what torchvision does to Pillow's images (DALI's own resize repeats the pixels at a
box's edge, and is off by more there).
"""

from __future__ import annotations

import io
import multiprocessing
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dsd.errors import DsdError
from dsd.train.views import View, seen, view_of

CHUNK = 32  # images of which the decoded boxes are in memory at once
END = b"\xff\xd9"  # of a JPEG
TAIL = 1024  # bytes, in which it is looked for
MODES = ("RGB", "L")

Key = tuple[int, int, str, int]  # index, seed, path, label


@dataclass(frozen=True)
class Planned:
    """An image's file and what of it will be seen."""

    data: Any  # (bytes,) uint8
    view: View


class DaliReader(torch.utils.data.Dataset[Any]):
    """What `plain` reads, a batch at a time; what DALI does not decode, `plain` does read.

    That depends on the file alone. It is every other format, CMYK, and a JPEG without an end: DALI
    would not notice that one is truncated below the box.
    """

    def __init__(self, plain: Any) -> None:
        self.plain = plain
        self.decoder = Decoder()

    def __getitems__(self, keys: list[Key]) -> list[Any]:
        """An image (3, r, r) uint8 and its label, or the error, for each key."""
        chunks = [keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK)]
        return [item for chunk in chunks for item in self._chunk(chunk)]

    def _chunk(self, keys: list[Key]) -> list[Any]:
        planned = [self._planned(key) for key in keys]
        boxes = iter(self.decoder([one for one in planned if one]))
        items = []
        for key, one in zip(keys, planned, strict=True):
            pixels = next(boxes) if one else None
            if one is None or pixels is None:
                items.append(self.plain[key])
            else:
                items.append((seen(pixels, one.view), key[3]))
        return items

    def _planned(self, key: Key) -> Planned | None:
        """None for what DALI is not to decode."""
        from PIL import Image

        try:
            with open(key[2], "rb") as file:
                data = file.read()
            with Image.open(io.BytesIO(data)) as image:
                known, (width, height) = (image.format, image.mode), image.size
        except Exception:  # the plain reader says what is wrong
            return None
        if known[0] != "JPEG" or known[1] not in MODES or END not in data[-TAIL:]:
            return None
        with self.plain.stream(key):
            view = view_of(self.plain.transform, height, width)
        return Planned(np.frombuffer(data, np.uint8), view)


class Decoder:
    """The boxes of JPEGs as tensors; its pipeline is built by the process that uses it."""

    def __init__(self) -> None:
        self.pipeline: Any = None

    def __call__(self, planned: Sequence[Planned]) -> list[Tensor | None]:
        """Pixels (3, h, w) uint8 of each box, at most CHUNK; None for what cannot be decoded."""
        if not planned:
            return []
        self.pipeline = self.pipeline or built()
        try:
            return list(run(self.pipeline, planned))
        except RuntimeError:  # it says not which, and the pipeline is of no more use
            self.pipeline = None
            return [None] if len(planned) == 1 else [self([one])[0] for one in planned]


def built() -> Any:
    """A pipeline that has shown that it works. Raises DsdError where DALI does not."""
    from nvidia.dali import Pipeline, fn

    try:
        pipeline = Pipeline(CHUNK, 1, None, prefetch_queue_depth=1, exec_pipelined=False,
                            exec_async=False)  # fmt: skip
        with pipeline:
            data, start, shape = (fn.external_source(name=name) for name in FED)
            pipeline.set_outputs(fn.decoders.image_slice(
                data, start=start, shape=shape, axes=(0, 1),
                jpeg_fancy_upsampling=True, adjust_orientation=False,
            ))  # fmt: skip
        (pixels,) = run(pipeline, [_probe()])
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise DsdError(
            f"NVIDIA DALI does not work here; use --reader torchvision: {reason}"
        ) from None
    if pixels.shape != (3, 4, 8):
        raise DsdError("NVIDIA DALI does not decode as it should; use --reader torchvision.")
    return pipeline


FED = ("data", "start", "shape")


def run(pipeline: Any, planned: Sequence[Planned]) -> list[Tensor]:
    """The boxes' pixels (3, h, w) uint8."""
    boxes = np.array([one.view.box for one in planned], np.int32)
    for name, values in zip(FED, ([one.data for one in planned], boxes[:, :2], boxes[:, 2:]),
                            strict=True):  # fmt: skip
        pipeline.feed_input(name, values)
    (decoded,) = pipeline.run()
    return [torch.from_numpy(np.array(decoded[i])).permute(2, 0, 1) for i in range(len(planned))]


def works() -> str:
    """DALI's version. Raises DsdError where it is installed but does not work."""
    try:
        import nvidia.dali

        built()
    except (ImportError, OSError) as error:
        raise DsdError(
            f"NVIDIA DALI cannot be imported; use --reader torchvision: {error}"
        ) from None
    return str(nvidia.dali.__version__)


def _probe() -> Planned:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (16, 16), "gray").save(file, "JPEG")
    return Planned(np.frombuffer(file.getvalue(), np.uint8), View((2, 4, 4, 8), (4, 8)))


def server() -> Any:
    """How processes that use DALI start: as copies of one that has nothing but the imports.

    It may ask for CUDA, which does not work in a copy of a process that uses a GPU.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def leave_with_parent(_: int) -> None:
    """Leave when the process that trains is gone; the server would wait for this one, in turn."""
    parent = multiprocessing.parent_process()

    def leave() -> None:
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=leave, daemon=True).start()
