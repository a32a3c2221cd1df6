"""The examples of the documentation run, on a database with a few networks."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import update

import dsd
from dsd.store.engine import writing
from dsd.store.schema import Run

ROOT = Path(__file__).parent.parent
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)


def test_the_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lab = dsd.open("dsd.db", regime="fashion")
    for space in ("anynetx_a", "anynetx_d"):
        lab.sample(space, 6)
    with writing(lab.store) as connection:
        scored = {"state": "done", "error_last": Run.id + 20.5, "error_lowest": Run.id + 20.5}
        connection.execute(update(Run).values(**scored))
    lab.store.close()
    shutil.copy("dsd.db", "before.db")
    reading, comparing, sampling = EXAMPLES
    names: dict[str, object] = {}
    exec(reading + comparing, names)
    assert Path("dsd.db").read_bytes() == Path("before.db").read_bytes(), "reading changes nothing"
    exec(sampling, names)
    assert len(names["lab"].population("anynetx_a").frame) == 20  # type: ignore[attr-defined]


def test_reading_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(dsd.DsdError, match="dsd sample"):
        dsd.open(str(tmp_path / "none.db")).populations()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_command_of_the_pages_is_one(page: Path) -> None:
    from dsd.cli.main import cli

    lines = [
        part.split("#")[0].strip()
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
        for line in block.splitlines()
        for part in line.split(";")
    ]
    for line in lines:
        words = line.split()
        if words[:1] == ["dsd"]:
            command = next(word for word in words[1:] if not word.startswith("-"))
            assert command in cli.commands, line


def test_the_study_s_tables_are_redone_from_its_networks() -> None:
    redo = ROOT / "docs" / "study" / "redo.py"
    done = subprocess.run([sys.executable, str(redo)], capture_output=True, text=True, check=True)
    page = (ROOT / "docs" / "study.md").read_text()
    lines = [line for line in done.stdout.splitlines() if line]
    assert len(lines) > 25
    missing = [line for line in lines if line not in page]
    assert not missing


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_walk_through_runs_from_space_to_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "walkthrough.md").read_text()
    names: dict[str, object] = {}
    for kind, cell in re.findall(r"```(sh|python)\n(.*?)```", page, re.DOTALL):
        if kind == "python":
            exec(cell, names)
            continue
        for line in cell.splitlines():
            command = [sys.executable, "-m", *shlex.split(line)]
            subprocess.run(command, check=True, capture_output=True, timeout=600)
    made = {"edf-narrowing-widening.png", "best.png", "top.svg", "report.html", "networks.csv"}
    assert made <= {path.name for path in tmp_path.iterdir()}


def test_every_statistic_has_a_page_with_all_its_parts() -> None:
    folder = ROOT / "docs" / "statistics"
    index = (folder / "README.md").read_text()
    pages = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    assert len(pages) >= 8
    for page in pages:
        text = page.read_text()
        assert f"]({page.name})" in index
        for part in ("Definition", "Formula", "Assumption", "When it misleads", "Source"):
            assert f"**{part}.**" in text, f"{page.name} lacks {part}"


def test_every_command_of_the_figures_is_one_and_every_space_is_there() -> None:
    from dsd.cli.main import cli
    from dsd.space.spec import space_names

    said = re.findall(r"`(dsd [^`]*)`", (ROOT / "docs" / "figures.md").read_text())
    assert len(said) > 12
    for line in said:
        command, *words = line.split()[1:]
        assert command in cli.commands, line
        spaces = [word for word in words if re.fullmatch(r"(any|reg)netx_?\w*", word)]
        assert set(spaces) <= set(space_names()), line
