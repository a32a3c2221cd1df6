"""A space as declared in `spaces/*.toml`: read, extended, validated."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsd import resources
from dsd.errors import UsageError, suggestion
from dsd.net.arch import text_digest
from dsd.space.draws import Draw, read_draw
from dsd.space.expression import STAGE_PARAMETERS
from dsd.toml import load_extended, parse_toml, read_table

if TYPE_CHECKING:
    from dsd.net.arch import Arch
    from dsd.regime import Regime

PER_STAGE, QUANTIZED = "per-stage", "quantized-linear"
PARAMETERS = {PER_STAGE: STAGE_PARAMETERS, QUANTIZED: ("d", "w0", "wa", "wm", "b", "g")}
WHOLE = {"d", "w", "g"}
MOST = {"d": 10_000.0, "w": 1e6, "g": 1e6, "w0": 1e6, "wa": 1e6, "wm": 1e6, "b": 1e6}
LEAST = {"d": 1.0, "w": 1.0, "g": 1.0, "w0": 1.0, "wa": 0.0, "wm": 1.001, "b": 1 / 64}


@dataclass(frozen=True)
class _File:
    """The keys of a space file (`extends` is resolved before)."""

    form: str = field(metadata={"one_of": (PER_STAGE, QUANTIZED)})
    draw: dict[str, Any]
    stages: int = 4
    block: str = field(default="X", metadata={"one_of": ("X", "Y", "R", "V", "VR")})
    activation: str = field(default="relu", metadata={"one_of": ("relu", "silu")})
    quantum: int = 8
    restrict: tuple[str, ...] = ()


@dataclass(frozen=True)
class Space:
    """A declared set of networks with a way to draw from it.

    `draws` holds, per parameter, one Draw a stage (per-stage form) or a single one; `own_rules`
    are those of its own file, without its parents'.
    """

    name: str
    form: str
    stages: int
    block: str
    activation: str
    quantum: int
    draws: dict[str, tuple[Draw, ...]]
    restrict: tuple[str, ...]
    parent: str | None
    about: str
    text: str
    own_rules: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of the resolved text."""
        return text_digest(self.text)

    def contains(self, network: Arch, regime: Regime | None = None) -> bool:
        """Whether some draw of the space builds the network (see `dsd.space.member.contains`)."""
        from dsd.space.member import contains

        return contains(self, network, regime)


def load_space(given: str) -> Space:
    """The space of a name or of a path to a TOML file. Raises UsageError."""
    path = resources.find("spaces", given)
    data = load_extended(path, "spaces")
    itself = parse_toml(path)
    space = space_from(data, path.stem, str(path), itself.get("extends"), _about(path))
    return replace(space, own_rules=tuple(itself.get("restrict", ())))


def space_from(
    data: dict[str, Any], name: str, where: str, parent: str | None = None, about: str = ""
) -> Space:
    """A checked space from the resolved tables of its file; `where` names it in errors."""
    from dsd.space.rules import compile_rules

    spec: _File = read_table(_File, data, where, "")
    if spec.stages < 1:
        raise UsageError(f"{where}: stages = {spec.stages}; 1 is the least that works.")
    if not 1 <= spec.quantum <= MOST["w"]:
        raise UsageError(
            f"{where}: quantum = {spec.quantum}; needs 1 to {MOST['w']:,.0f} channels."
        )
    space = Space(
        name=name,
        form=spec.form,
        stages=spec.stages,
        block=spec.block,
        activation=spec.activation,
        quantum=spec.quantum,
        draws=_draws(spec, where),
        restrict=spec.restrict,
        parent=parent,
        about=about,
        text=_canonical(spec),
    )
    compile_rules(space, space.restrict, where)
    return space


def space_names() -> dict[str, Path]:
    """Name -> file of every space that can be named here."""
    return resources.catalogue("spaces")


def _canonical(spec: _File) -> str:
    plain = {**vars(spec), "restrict": list(spec.restrict)}
    if spec.form == PER_STAGE:
        del plain["quantum"]
    return json.dumps(plain, separators=(",", ":"), sort_keys=True)


def _draws(spec: _File, where: str) -> dict[str, tuple[Draw, ...]]:
    parameters = PARAMETERS[spec.form]
    count = spec.stages if spec.form == PER_STAGE else 1
    allowed = set(parameters)
    if spec.form == PER_STAGE:
        allowed |= {f"{p}{i + 1}" for p in parameters for i in range(count)}
    for key in spec.draw:
        if key not in allowed:
            raise UsageError(f"{where}: unknown key 'draw.{key}'.{suggestion(key, allowed)}")
    return {
        p: tuple(_draw(spec, p, f"{p}{i + 1}", where) for i in range(count)) for p in parameters
    }


def _draw(spec: _File, parameter: str, of_stage: str, where: str) -> Draw:
    key = of_stage if of_stage in spec.draw else parameter
    if key not in spec.draw:
        raise UsageError(f"{where}: key 'draw.{key}' is missing.")
    draw = read_draw(spec.draw[key], f"{where}: draw.{key}")
    least, most = LEAST[parameter], MOST[parameter]
    if draw.values[0] < least:
        raise UsageError(f"{where}: draw.{key} = {draw.spec!r}; {least:g} is the least that works.")
    if draw.values[-1] > most:
        raise UsageError(
            f"{where}: draw.{key} = {draw.spec!r}; {most:,.0f} is the most that works."
        )
    if parameter in WHOLE and (draw.values % 1 != 0).any():
        raise UsageError(f"{where}: draw.{key} = {draw.spec!r}; needs whole numbers.")
    return draw


def _about(path: Path) -> str:
    first = path.read_text(encoding="utf-8-sig").partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""
