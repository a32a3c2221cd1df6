"""Declarations in TOML: inheritance by `extends`, and tables checked against dataclasses."""

from __future__ import annotations

import tomllib
import types
import typing
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from dsd import resources
from dsd.errors import UsageError, suggestion


def load_extended(path: Path, kind: str, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's tables over its parent's: tables merge, `restrict` adds up, the rest replaces.

    Raises UsageError for an unreadable file, a missing parent and a cycle.
    """
    path = path.resolve()
    if path in seen:
        chain = " -> ".join(p.stem for p in (*seen, path))
        raise UsageError(f"{path}: extends itself in a cycle: {chain}.")
    data = parse_toml(path)
    if "extends" not in data:
        return data
    parent = load_extended(_parent(data.pop("extends"), path, kind), kind, (*seen, path))
    return merge(parent, data)


def merge(parent: dict[str, Any], child: dict[str, Any]) -> dict[str, Any]:
    """Child over parent."""
    out = dict(parent)
    for key, value in child.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = {**out[key], **value}
        elif key == "restrict" and isinstance(value, list) and isinstance(out.get(key), list):
            out[key] = [*out[key], *(rule for rule in value if rule not in out[key])]
        else:
            out[key] = value
    return out


def parse_toml(path: Path) -> dict[str, Any]:
    """The tables of a file. Raises UsageError for one that cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as TOML: {error}") from None


def _parent(name: Any, path: Path, kind: str) -> Path:
    if not isinstance(name, str):
        raise UsageError(f"{path}: extends = {name!r}; needs the name of another file in {kind}/.")
    beside = path.parent / f"{name.removesuffix('.toml')}.toml"
    try:
        if beside.is_file():
            return beside
        return resources.find(kind, name)
    except (UsageError, OSError) as error:  # OSError: a name that no file can have
        raise UsageError(f"{path}: extends = '{name}': {error}") from None


def read_table(cls: Any, table: Any, where: str, name: str, **given: Any) -> Any:
    """A `cls` from a TOML table: unknown keys, wrong types and missing keys are UsageErrors."""
    label = f"{name}." if name else ""
    if not isinstance(table, dict):
        raise UsageError(f"{where}: {name} = {table!r}; needs a table [{name}].")
    known = {f.name: f for f in fields(cls)}
    hints = typing.get_type_hints(cls)
    for key in table:
        if key not in known:
            raise UsageError(f"{where}: unknown key '{label}{key}'.{suggestion(key, known)}")
    values = {k: _value(v, hints[k], known[k], f"{where}: {label}{k}") for k, v in table.items()}
    for key, spec in known.items():
        optional = spec.default is not MISSING or spec.default_factory is not MISSING
        if not optional and key not in values and key not in given:
            raise UsageError(f"{where}: key '{label}{key}' is missing.")
    return cls(**values, **given)


def _value(value: Any, hint: Any, spec: Any, where: str) -> Any:
    choices = spec.metadata.get("one_of")
    if choices and value not in choices:
        raise UsageError(f"{where} = {value!r}; needs one of {', '.join(map(repr, choices))}.")
    if typing.get_origin(hint) is tuple:
        return _tuple(value, typing.get_args(hint)[0], where)
    return _scalar(value, hint, where)


def _tuple(value: Any, item: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise UsageError(f"{where} = {value!r}; needs a list.")
    return tuple(_scalar(v, item, where) for v in value)


def _scalar(value: Any, hint: Any, where: str) -> Any:
    union = hint.__args__ if isinstance(hint, types.UnionType) else (hint,)
    kinds = [typing.get_origin(kind) or kind for kind in union]
    if type(value) in kinds:
        return value
    if float in kinds and type(value) is int:
        return float(value)
    wanted = " or ".join(kind.__name__ for kind in kinds)
    raise UsageError(f"{where} = {value!r}; needs {wanted}.")
