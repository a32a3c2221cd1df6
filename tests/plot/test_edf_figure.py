"""The EDF figure: what it shows, and that nothing lies upon another thing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from dsd.errors import DsdError, UsageError
from dsd.plot.edf import error_range, plot_edfs
from dsd.plot.files import save, writable
from dsd.plot.style import look


def populations(count: int, n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(count * n)
    return {f"space_{i}": 38 - i + (9 - i) * rng.lognormal(0, 0.5, n) for i in range(count)}


def texts(figure: Figure) -> list[str]:
    legend = figure.axes[0].get_legend() or figure.legends[0]
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize(("count", "n"), [(1, 16), (3, 16), (3, 500), (6, 16), (6, 500)])
def test_curves_bands_labels_and_legend(count: int, n: int) -> None:
    held = populations(count, n)
    figure = plot_edfs(held, note="fashion, last epoch")
    axes = figure.axes[0]
    assert axes.get_xlabel() == "top-1 error (%)"
    assert axes.get_ylabel() == "cumulative share of networks"
    assert len(axes.get_lines()) == len(axes.collections) == count
    assert len({str(line._dash_pattern) for line in axes.get_lines()}) == count  # type: ignore[attr-defined]
    first = held["space_0"]
    assert texts(figure)[0] == f"space_0  n={n} [{first.min():.1f} | {first.mean():.1f}]"
    assert "fashion, last epoch; shaded: 95% pointwise band" in figure.get_supxlabel()


@pytest.mark.parametrize(("count", "n"), [(1, 500), (3, 16), (6, 500)])
@pytest.mark.parametrize("name", ["", "a_population_with_a_name_that_nobody_expected@regime#"])
def test_nothing_is_cut_off_or_covered(count: int, n: int, name: str) -> None:
    held = {name + key: errors for key, errors in populations(count, n).items()}
    figure = plot_edfs(held, note="one line of small print " * 5)
    figure.draw_without_rendering()
    axes, page = figure.axes[0], figure.bbox
    inside = axes.get_legend()
    legend = (inside or figure.legends[0]).get_window_extent()
    assert page.x0 <= legend.x0
    assert legend.x1 <= page.x1
    assert legend.y1 <= page.y1
    tight = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert tight.x0 >= -1
    assert tight.x1 <= page.x1 + 1
    assert tight.y0 >= -1
    if inside is None:
        assert not legend.overlaps(axes.get_window_extent())
    else:
        for line in axes.get_lines():
            xy = axes.transData.transform(np.column_stack([line.get_xdata(), line.get_ydata()]))
            assert not legend.count_contains(xy)


def test_curve_is_drawn_as_steps_of_the_strict_edf() -> None:
    line = plot_edfs({"x": [40.0, 41.0, 41.0, 44.0]}).axes[0].get_lines()[0]
    assert line.get_drawstyle() == "steps-post"
    assert np.asarray(line.get_xdata())[1:-1].tolist() == [40, 41, 44]
    assert np.asarray(line.get_ydata()).tolist() == [0, 0.25, 0.75, 1, 1]


def test_diverged_networks_are_counted_not_drawn() -> None:
    errors = np.append(populations(1, 490)["space_0"], [99.9] * 10)
    low, high = error_range([np.sort(errors)])
    assert errors.min() - 2 < low < errors.min()
    assert high < 90
    cut = np.count_nonzero(errors > high)
    assert f"{cut} networks above {high:.1f}% not shown" in plot_edfs({"x": errors}).get_supxlabel()


def test_a_population_without_errors_keeps_its_row() -> None:
    figure = plot_edfs({"x": [40.0, 41.0], "y": []}, kind=None)
    assert texts(figure)[1] == "y  n=0"
    assert len(figure.axes[0].collections) == 0
    with pytest.raises(DsdError, match="No finished network to draw in y"):
        plot_edfs({"y": []})


def test_looks_differ_in_dashes_before_they_come_again() -> None:
    assert len({str(look(i)) for i in range(42)}) == 42
    assert len({str(look(i).dashes) for i in range(6)}) == 6


@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_saved_by_the_ending_twice_the_same_bytes(
    tmp_path: Path, ending: str, start: bytes
) -> None:
    held, path = populations(2, 40), tmp_path / f"edf.{ending}"
    first = save(plot_edfs(held), path).read_bytes()
    assert first.startswith(start)
    assert save(plot_edfs(held), path).read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if ending == "pdf":
        assert b"/FontFile2" in first
        assert b"/Subtype /Type3" not in first


def test_where_no_figure_can_be_written(tmp_path: Path) -> None:
    figure = plot_edfs({"x": [1.0, 2.0]})
    with pytest.raises(UsageError, match=r"\.png, \.pdf, \.svg"):
        save(figure, tmp_path / "edf.jpeg")
    with pytest.raises(UsageError, match=r"\.png, \.pdf, \.svg"):
        writable("edf")
    with pytest.raises(DsdError, match="make it first"):
        save(figure, tmp_path / "missing" / "edf.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        writable(tmp_path / "folder.png")


def test_a_disk_that_refuses_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "edf.png"
    path.write_text("old")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    figure = plot_edfs({"x": [1.0, 2.0]})
    monkeypatch.setattr(figure, "savefig", refuse)
    with pytest.raises(DsdError, match="No space left"):
        save(figure, path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["edf.png"]


def test_the_callers_matplotlib_is_left_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    save(plot_edfs(populations(1, 16)), tmp_path / "edf.png")
    assert dict(matplotlib.rcParams) == before
    code = "import sys, dsd.plot.edf, dsd.plot.files; print('matplotlib.pyplot' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
