"""Where the files that are data, not code, lie: beside the package, or in an installed wheel."""

from __future__ import annotations

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
        path = Path(given)
        if path.is_file():
            return path
        raise UsageError(f"No file '{given}'.")
    known = catalogue(kind)
    if given in known:
        return known[given]
    singular = kind.removesuffix("s")
    raise UsageError(f"No {singular} '{given}' in {kind}/.{suggestion(given, known)}")


def catalogue(kind: str) -> dict[str, Path]:
    """Name -> file of every space or regime that can be named here."""
    folders = [resource(kind), Path.cwd() / kind]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}
