"""Where the files that are data, not code, lie: beside the package, or in an installed wheel."""

from __future__ import annotations

import re
from pathlib import Path

from dsd.errors import UsageError, suggestion

_PACKAGE = Path(__file__).parent


def resource(name: str) -> Path:
    """The folder `spaces`, `regimes` or `migrations` of this installation."""
    packed = _PACKAGE / "_files" / name
    return packed if packed.exists() else _PACKAGE.parent / name


def find(kind: str, given: str) -> Path:
    """The TOML file of a name or path; the working folder's own `spaces/` or `regimes/` wins.

    Raises UsageError, with the nearest name, when there is none.
    """
    if given.endswith(".toml") or "/" in given:
        return _file(Path(given))
    known = catalogue(kind)
    if given in known:
        return _file(known[given])
    singular = kind.removesuffix("s")
    raise UsageError(f"No {singular} '{given}' in {kind}/.{suggestion(given, known)}")


def _file(path: Path) -> Path:
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder; one of its TOML files would work.")
    if not path.is_file():
        raise UsageError(f"No file '{path}'.")
    if not re.fullmatch(r"[\w.+-]+", path.stem):
        raise UsageError(f"'{path}': its name goes into population references; letters, digits, "
                         "_ . + - would work.")  # fmt: skip
    return path


def catalogue(kind: str) -> dict[str, Path]:
    """Name -> file of every space or regime that can be named here."""
    folders = [resource(kind), Path.cwd() / kind]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}
