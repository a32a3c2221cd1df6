"""One concrete network: stem, stages, block and head, with a canonical text and a digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, astuple, dataclass, field, replace
from functools import cached_property
from typing import Any

from dsd.net.blocks import IGNORES


@dataclass(frozen=True)
class Stem:
    """The first layers: one kernel x kernel convolution, and a 3x3 stride 2 max-pool if asked."""

    inputs: int = field(default=3, metadata={"about": "channels of an image"})
    width: int = field(default=32, metadata={"about": "channels after the stem"})
    kernel: int = field(default=3, metadata={"about": "side of the stem's kernel"})
    stride: int = field(default=2, metadata={"about": "of the stem's convolution"})
    pool: bool = field(default=False, metadata={"about": "a 3x3 max-pool of stride 2 follows"})


@dataclass(frozen=True)
class Stage:
    """d blocks of w channels, bottleneck ratio b (w_b = w / b: b narrows), g channels per group."""

    d: int
    w: int
    b: float
    g: int
    stride: int = 2

    @property
    def bottleneck(self) -> int:
        """Channels w_b of the 3x3 convolution."""
        return max(1, round(self.w / self.b))


@dataclass(frozen=True)
class Arch:
    """A network (RegNet, section 3.2). Equal canonical text means the same network."""

    stem: Stem
    stages: tuple[Stage, ...]
    block: str = "X"
    activation: str = "relu"
    classes: int = 1000

    @property
    def d(self) -> int:
        """Total number of blocks."""
        return sum(stage.d for stage in self.stages)

    @cached_property
    def canonical(self) -> str:
        """The normalised network as compact JSON: what a database stores and a digest reads."""
        return json.dumps(self.as_dict(), separators=(",", ":"), sort_keys=True)

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of the canonical text's SHA-256."""
        return text_digest(self.canonical)

    def as_dict(self) -> dict[str, Any]:
        """Plain data of the normalised network; `from_json` reads it back."""
        net = self.normalized()
        return {
            "stem": asdict(net.stem),
            "stages": [astuple(stage) for stage in net.stages],
            "block": net.block,
            "activation": net.activation,
            "classes": net.classes,
        }

    def normalized(self) -> Arch:
        """The same network without what its block ignores: V and VR read no b and g, R no g."""
        return replace(self, stages=tuple(_normalized(s, self.block) for s in self.stages))

    @classmethod
    def from_json(cls, text: str) -> Arch:
        """Read back `canonical`."""
        data = json.loads(text)
        stages = tuple(Stage(*row) for row in data.pop("stages"))
        return cls(stem=Stem(**data.pop("stem")), stages=stages, **data)


def text_digest(text: str) -> str:
    """16 hexadecimal digits that name a canonical text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _normalized(stage: Stage, block: str) -> Stage:
    ignored = IGNORES.get(block, ())
    b: float = 1 if "b" in ignored else stage.b
    g = 1 if "g" in ignored else stage.g
    return replace(stage, b=int(b) if b == int(b) else float(b), g=g)
