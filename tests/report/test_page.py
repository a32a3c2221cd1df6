"""The report as a reader meets it: in a browser, offline, on a phone."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import dsd
from dsd.report.contents import contents, usual_columns
from dsd.report.page import page
from dsd.store.readers import read_csv
from dsd.study import Question

pytestmark = pytest.mark.xdist_group("report")  # one browser, one page

NAMES = (
    "wide",
    "deep",
    "flat_and_of_a_name_that_has_no_blank_in_it/and_goes_on_for_longer_than_a_phone_is_wide",
)
ODD = "</script><b>odd</b> & 'text', \"quoted\""
N = 500
FLAGS = (
    "headless=new", "no-sandbox", "disable-gpu", "disable-background-networking",
    "disable-component-update", "disable-sync", "no-first-run", "disable-quic",
)  # fmt: skip
POINTS = [("edf-0", 0), ("edf-2", 250), ("best-1-0", 17), ("best-0-2", 499)]


def networks(seed: int) -> pd.DataFrame:
    """500 networks with stages, costs and errors."""
    rng = np.random.default_rng(seed)
    d, w = rng.integers(1, 9, (N, 4)), 8 * rng.integers(1, 40, (N, 4))
    table = {f"{p}{i + 1}": x[:, i] for i in range(4) for p, x in (("d", d), ("w", w))}
    table |= {"d": d.sum(axis=1), "b1": rng.choice([1, 2, 4], N), "flops": rng.integers(1, 9e6, N)}
    table |= {"remark": [ODD] * N}
    return pd.DataFrame({"error": (35 - seed + rng.lognormal(2, 0.5, N)).round(2), **table})


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("report")
    lab = dsd.open(str(folder / "dsd.db"))
    for seed, name in enumerate(NAMES):
        file = folder / f"{seed}.csv"
        networks(seed).to_csv(file, index=False)
        lab.add(read_csv(file).named(name, "made up"))
    return lab


@pytest.fixture(scope="module")
def html(lab: Any) -> str:
    return page(contents(lab, NAMES, Question()))


def test_one_file_small_and_with_nothing_outside(html: str) -> None:
    assert len(html.encode()) < 3_000_000
    outside = re.findall(r'(?:src|href)\s*=\s*"(?!#)[^"]*"', html)
    assert not outside
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    assert html.count("<script>") == 1
    assert "<b>odd" not in html, "what files hold is text, whatever it holds"
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_it_says_what_the_commands_say(lab: Any, html: str) -> None:
    found = contents(lab, NAMES, Question())
    first, *rest = found.summary()
    assert first.startswith(f"{NAMES[2]} has the lowest mean error")
    assert len(rest) == 3
    for name in NAMES[:2]:
        errors = networks(NAMES.index(name)).error
        row = re.search(rf"<tr><td>{name}<.*?</tr>", html, re.DOTALL)
        assert row
        assert f">{errors.min():.1f}<" in row[0]
        assert f">{errors.mean():.1f} <" in row[0]
    part = found.parts[0]
    assert list(part.ranges) == ["d", "w1", "w4", "b1"] == usual_columns(part.table)
    assert part.extremes("last")["best"]["error_last"].is_monotonic_increasing


def test_one_network_is_too_few(lab: Any) -> None:
    with pytest.raises(dsd.DsdError, match="2 at least"):
        contents(lab, ["wide"], Question(where=f"error <= {networks(0).error.min()}"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium with chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield found
    found.quit()


@pytest.fixture
def opened(browser: Any, html: str, tmp_path: Path) -> Any:
    file = tmp_path / "report.html"
    file.write_text(html, encoding="utf-8")
    browser.set_window_size(1200, 900)
    browser.get(file.as_uri())
    return browser


# Where the k-th marked network of a group stands on the screen.
PLACE = """
const use = document.querySelectorAll(`g[id='${arguments[0]}'] use`)[arguments[1]];
use.closest("svg").scrollIntoView({block: "center"});
const box = use.getBoundingClientRect();
return [box.x + box.width / 2, box.y + box.height / 2];
"""


@pytest.mark.parametrize(("group", "k"), POINTS)
def test_pointing_at_a_network_shows_it(opened: Any, group: str, k: int) -> None:
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    data = json.loads(opened.find_element("id", "networks-data").get_attribute("textContent"))
    population, rows = data["points"][group]
    table = networks(population)
    x, y = opened.execute_script(PLACE, f"hover-{group}", k)
    builder = ActionBuilder(opened)
    builder.pointer_action.move_to_location(round(x), round(y))
    builder.perform()
    said = opened.find_element("id", "tip").text
    number = re.search(r"#(\d+): ([\d.]+)% error", said)
    assert number, said
    shown, asked = table.iloc[int(number[1])], table.iloc[rows[k]]
    assert float(number[2]) == shown.error
    assert abs(shown.error - asked.error) < 1.5, "the nearest point, which may lie beside it"
    assert f"w {int(shown.w1)}, {int(shown.w2)}, {int(shown.w3)}, {int(shown.w4)}" in said
    assert len(opened.find_elements("css selector", "#tip rect")) == shown.d
    assert said.startswith(NAMES[population]) or group.startswith("edf")


def test_tables_open_and_nothing_is_wrong(opened: Any) -> None:
    details = opened.find_element("css selector", "details[data-population='1']")
    details.find_element("tag name", "summary").click()
    rows = opened.execute_script("return arguments[0].querySelectorAll('tbody tr').length", details)
    assert rows == N
    link = details.find_element("tag name", "a")
    assert link.get_attribute("download") == "deep.csv"
    text = opened.execute_async_script(
        "const done = arguments[1]; fetch(arguments[0].href).then((r) => r.text()).then(done)", link
    )
    table = pd.read_csv(io.StringIO(text))
    assert len(table) == N
    assert (table.remark == ODD).all()
    assert not [line for line in opened.get_log("browser") if line["level"] == "SEVERE"]


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_is_wider_than_the_screen(opened: Any, width: int) -> None:
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500,
    })  # fmt: skip
    try:
        wide = opened.execute_script("return document.documentElement.scrollWidth")
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= width


def test_it_prints(opened: Any) -> None:
    pages = opened.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    assert len(pages) > 50_000
