"""The house rules that a machine can hold: imports point one way, code names no space."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from dsd.space.spec import space_names

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dsd"
MAY_IMPORT = {
    "net": set(),
    "space": {"net"},
    "store": {"net", "space"},
    "train": {"net", "space", "store"},
    "analysis": set(),
    "plot": {"analysis"},
    "report": {"analysis", "plot", "store"},
    "launch": {"store"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path, top_only: bool = False) -> set[str]:
    """Modules that a file imports; only those at its top level if asked."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_only else list(ast.walk(tree))
    plain = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    return plain | {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    room = path.relative_to(PACKAGE).parts[0]
    if room not in MAY_IMPORT:
        return
    used = {name.split(".")[1] for name in imports(path) if name.startswith("dsd.")}
    rooms = {r for r in used if (PACKAGE / r).is_dir()} - {room}
    assert rooms <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_stay_in_their_rooms(path):
    room = path.relative_to(PACKAGE).parts[0]
    roots = {name.split(".")[0] for name in imports(path)}
    if room != "train" and path.name not in ("build.py",):
        assert "torch" not in {n.split(".")[0] for n in imports(path, top_only=True)}
    if room != "plot":
        assert "matplotlib" not in roots
    if room not in ("cli", "__main__.py"):
        assert "click" not in roots


def test_code_names_no_space():
    """Texts may show one as an example; no value is one, but for what the demo compares."""
    known = space_names().keys()
    for path in MODULES:
        constants = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        named = {n.value for n in constants if isinstance(n, ast.Constant)} & known
        assert path.name == "demo.py" or not named, path


def test_modules_and_functions_stay_small():
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno <= 60, f"{path}: {node.name}"
