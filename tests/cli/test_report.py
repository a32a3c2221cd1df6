"""`dsd report` through the real command line."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import update

import dsd as package
from dsd.store.engine import writing
from dsd.store.schema import Run

STUDY = Path(__file__).parent.parent.parent / "docs" / "study"
OTHER = """extends = "fashion"
[band]
flops = [1.0e6, 1.1e6]
"""


def test_a_page_of_imports_and_one_line_for_what_is_wrong(dsd, here):
    for name in ("anynetx_a", "regnetx"):
        here("import", "csv", str(STUDY / f"{name}.csv"), "--name", name, "--error", "error_last")
    assert "Wrote report.html" in dsd("report", "anynetx_a", "regnetx")
    html = (dsd.folder / "report.html").read_text()
    assert "anynetx_a is worse than regnetx" in html
    assert 'id="trends"' not in html
    assert "make it first" in here.fails("report", "regnetx", "-o", "none/r.html", code=1)
    assert "holds no population of regnet_x" in here.fails("report", "regnet_x", code=1)
    assert "Did you mean" in here.fails("report", "regnetx", "--column", "wmm", code=2)


def test_other_regimes_of_a_space_are_its_trends(here):
    (here.folder / "regimes").mkdir()
    (here.folder / "regimes" / "larger.toml").write_text(OTHER)
    for regime in ("fashion", "larger"):
        here("sample", "regnetx", "--n", "12", "--regime", regime)
    lab = package.open(str(here.folder / "dsd.db"))
    with writing(lab.store) as connection:
        scored = {"state": "done", "error_last": Run.id + 20.5, "error_lowest": Run.id + 20.5}
        connection.execute(update(Run).values(**scored))
    here("report", "regnetx@fashion", "-o", "one.html")
    html = (here.folder / "one.html").read_text()
    assert "Best values of regnetx@fashion, regnetx@larger against compute" in html
    assert "has a mean error of" in html
    assert re.search(r"<dt>train.epochs<dd>4", html)
