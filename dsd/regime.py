"""The conditions under which networks are scored, read from `regimes/*.toml`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from dsd import resources
from dsd.errors import UsageError
from dsd.net.arch import Stem, text_digest
from dsd.toml import load_extended, read_table

BAND_COLUMNS = ("flops", "params", "acts")


def _key(default: Any, about: str, *one_of: str, later: bool = False) -> Any:
    """A key of a regime file: its default and what it means.

    A key that came `later` than results were stored is left out of `Regime.text` while it has its
    default, so that the conditions under which they were made keep their text and digest. Its
    default must therefore be what happened before there was such a key, and stay so.
    """
    choices = {"one_of": one_of} if one_of else {}
    return field(default=default, metadata={"about": about, "later": later, **choices})


@dataclass(frozen=True)
class Recipe:
    """How one network is trained. Defaults are RegNet's section 3 on ImageNet."""

    epochs: int = _key(10, "passes over the training images")
    batch: int = _key(128, "images a step")
    lr: float = _key(0.05, "learning rate at the start, for this batch")
    momentum: float = _key(0.9, "of SGD")
    nesterov: bool = _key(True, "Nesterov's momentum")
    weight_decay: float = _key(5e-5, "L2 penalty on every parameter")
    schedule: str = _key(
        "cosine-epoch", "half a cosine, set anew each epoch or step", "cosine-epoch", "cosine-step"
    )
    warmup_epochs: float = _key(0.0, "epochs of a linear rise to lr")
    label_smoothing: float = _key(0.0, "probability spread over all classes")
    precise_bn_images: int = _key(8192, "training images that set batch norm before each test")
    precision: str = _key("fp32", "of the forward pass", "fp32", "bf16")
    bn_weight_decay: bool = _key(
        True, "weight decay on batch norm's scale and shift, too", later=True
    )
    ema: float = _key(
        0.0, "decay a step of the averaged weights, which are then tested; 0: none", later=True
    )


@dataclass(frozen=True)
class Augment:
    """What happens to images; mean and std are per channel, of values in 0..1."""

    crop: str = _key("random-resized", "of a training image", "random-resized", "pad", "none")
    pad: int = _key(4, "pixels on each side, for crop = 'pad'")
    flip: bool = _key(True, "mirror every other training image")
    lighting: float = _key(0.1, "standard deviation of the PCA lighting")
    test_resize: int = _key(256, "short side of a test image before its crop; 0: as it is")
    test_crop: int = _key(224, "centre crop of a test image; 0: all of it")
    mean: tuple[float, ...] = _key((0.485, 0.456, 0.406), "taken off each channel")
    std: tuple[float, ...] = _key((0.229, 0.224, 0.225), "each channel is divided by")


@dataclass(frozen=True)
class Regime:
    """Dataset, resolution (pixels), stem, classes, compute band, recipe and augmentation."""

    name: str
    dataset: str = field(metadata={"about": "its name; `dsd worker` says where it must lie"})
    resolution: int = field(metadata={"about": "side of an image in training, in pixels"})
    classes: int = field(metadata={"about": "classes of the dataset"})
    stem: Stem
    band: dict[str, tuple[float, float]]
    restrict: tuple[str, ...] = _key((), "rules on every network, as a space has them")
    strides: tuple[int, ...] = _key((), "of each stage's first block; none: 2 in all")
    train: Recipe = Recipe()
    augment: Augment = Augment()

    @cached_property
    def text(self) -> str:
        """Everything that changes a result, resolved, as canonical JSON (the name changes none)."""
        data = _plain(self, as_stored=True)
        del data["name"]
        return json.dumps(data, separators=(",", ":"), sort_keys=True)

    @cached_property
    def values(self) -> dict[str, Any]:
        """Every key with its value as plain data, also those that the text leaves out."""
        data: dict[str, Any] = json.loads(json.dumps(_plain(self), sort_keys=True))
        del data["name"]
        return data

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of the text."""
        return text_digest(self.text)

    @classmethod
    def from_text(cls, text: str, name: str) -> Regime:
        """Rebuild the regime from its stored text."""
        return regime_from(json.loads(text), name, f"regime {name}")

    def in_band(self, costs: dict[str, Any]) -> Any:
        """Whether costs (ints or arrays, by column) lie in the band, bounds included."""
        inside: Any = True
        for column, (low, high) in self.band.items():
            inside = inside & (costs[column] >= low) & (costs[column] <= high)
        return inside


def load_regime(given: str) -> Regime:
    """The regime of a name or a path to a TOML file. Raises UsageError."""
    path = resources.find("regimes", given)
    return regime_from(load_extended(path, "regimes"), path.stem, str(path))


def regime_from(data: dict[str, Any], name: str, where: str) -> Regime:
    """A checked regime from the tables of its file; `where` names the file in errors."""
    tables = {"stem": Stem, "train": Recipe, "augment": Augment}
    plain = {k: v for k, v in data.items() if k not in (*tables, "band")}
    parts = {k: read_table(cls, data.get(k, {}), where, k) for k, cls in tables.items()}
    band = _band(data.get("band", {}), where)
    regime: Regime = read_table(Regime, {"name": name, **plain}, where, "", **parts, band=band)
    _check_numbers(regime, where)
    return regime


def _check_numbers(regime: Regime, where: str) -> None:
    t, a, stem = regime.train, regime.augment, regime.stem
    wanted = {
        f"resolution = {regime.resolution}: at least 1": regime.resolution >= 1,
        f"classes = {regime.classes}: at least 2": regime.classes >= 2,
        f"strides = {list(regime.strides)}: each at least 1": min(regime.strides, default=1) >= 1,
        f"stem.inputs = {stem.inputs}: at least 1": stem.inputs >= 1,
        f"stem.width = {stem.width}: at least 1": stem.width >= 1,
        f"stem.stride = {stem.stride}: at least 1": stem.stride >= 1,
        f"stem.kernel = {stem.kernel}: odd, at least 1": stem.kernel >= 1 and stem.kernel % 2 == 1,
        f"train.epochs = {t.epochs}: at least 1": t.epochs >= 1,
        f"train.batch = {t.batch}: at least 1": t.batch >= 1,
        f"train.lr = {t.lr}: above 0, finite": 0 < t.lr < math.inf,
        f"train.momentum = {t.momentum}: in [0, 1)": 0 <= t.momentum < 1,
        f"train.weight_decay = {t.weight_decay}: in [0, 1)": 0 <= t.weight_decay < 1,
        f"train.warmup_epochs = {t.warmup_epochs}: in [0, epochs]": 0
        <= t.warmup_epochs
        <= t.epochs,
        f"train.label_smoothing = {t.label_smoothing}: in [0, 1)": 0 <= t.label_smoothing < 1,
        f"train.ema = {t.ema}: in [0, 1)": 0 <= t.ema < 1,
        f"train.precise_bn_images = {t.precise_bn_images}: 0 or more": t.precise_bn_images >= 0,
        f"augment.pad = {a.pad}: 0 to resolution": 0 <= a.pad <= regime.resolution,
        f"augment.lighting = {a.lighting}: 0 or more": 0 <= a.lighting < math.inf,
        f"augment.std = {list(a.std)}: each above 0": min(a.std, default=0) > 0,
    }
    wrong = [text for text, holds in wanted.items() if not holds]
    if wrong:
        raise UsageError(f"{where}: {wrong[0]} is what works.")


def _band(table: Any, where: str) -> dict[str, tuple[float, float]]:
    if not isinstance(table, dict):
        raise UsageError(f"{where}: [band] must be a table such as flops = [360e6, 400e6].")
    return {column: _bounds(column, bounds, where) for column, bounds in sorted(table.items())}


def _bounds(column: str, bounds: Any, where: str) -> tuple[float, float]:
    if column not in BAND_COLUMNS:
        raise UsageError(
            f"{where}: band.{column} is unknown; a band limits {', '.join(BAND_COLUMNS)}."
        )
    ok = isinstance(bounds, list | tuple) and len(bounds) == 2
    if (
        not ok
        or not all(isinstance(x, int | float) for x in bounds)
        or not 0 <= bounds[0] <= bounds[1]
    ):
        raise UsageError(
            f"{where}: band.{column} = {bounds!r}; needs [low, high] with 0 <= low <= high."
        )
    return float(bounds[0]), float(bounds[1])


def _plain(noun: Any, as_stored: bool = False) -> Any:
    if hasattr(noun, "__dataclass_fields__"):
        pairs = ((spec, getattr(noun, spec.name)) for spec in fields(noun))
        return {
            spec.name: _plain(value, as_stored)
            for spec, value in pairs
            if not (as_stored and spec.metadata.get("later") and value == spec.default)
        }
    return list(noun) if isinstance(noun, tuple) else noun


def regime_names() -> dict[str, Path]:
    """Name -> file of every regime that can be named here."""
    return resources.catalogue("regimes")
