"""Redo the statistics of docs/study.md from the exported networks beside this file.

python docs/study/redo.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from dsd.analysis.best import best_range
from dsd.analysis.bootstrap import Interval
from dsd.analysis.correlation import rank_correlation
from dsd.analysis.difference import differences, holm
from dsd.analysis.search import search_curve
from dsd.analysis.summary import summarize
from dsd.analysis.verdict import of_the_second
from dsd.space.linear_fit import linear_fit, stages_of
from dsd.space.spec import load_space
from dsd.where import values

FOLDER = Path(__file__).parent
STEPS = ("anynetx_a", "anynetx_b", "anynetx_c", "anynetx_d", "anynetx_e", "regnetx")
COLUMNS = ("d", "w1", "w4", "w4 / w1", "d3 / d", "b1", "g1")
FITTED = ("anynetx_a", "anynetx_e")  # RegNets lie on a line


def lineage(errors: dict[str, pd.Series]) -> Iterator[str]:
    """A row a step: what it adds, its numbers, and the verdict against the one before."""
    yield "| space | adds | n | min | mean [95%] | change [95%] | p (Holm) | verdict |"
    yield "|---|---|---|---|---|---|---|---|"
    pairs = [None, *differences(errors, chain=True)]
    before: tuple[str, ...] = ()
    for (name, found), pair in zip(errors.items(), pairs, strict=True):
        space, s = load_space(name), summarize(found, name)
        adds = ", ".join(f"`{rule}`" for rule in space.restrict if rule not in before)
        before = space.restrict
        said = ["", "", ""]
        if pair:
            low, high = -pair.mean_interval.high, -pair.mean_interval.low
            change = f"{-pair.mean:+.1f} [{low:+.1f}, {high:+.1f}]"
            said = [change, f"{pair.p_holm:.1g}", of_the_second(pair).split(";")[0]]
        form = adds or ("nothing" if space.form == "per-stage" else "a quantised line")
        mean = f"{s.mean:.1f} {limits(s.mean_interval)}"
        yield f"| {name} | {form} | {s.n} | {s.min:.1f} | {mean} | {' | '.join(said)} |"


def limits(interval: Interval, form: str = ".1f") -> str:
    """[1.0, 2.0]"""
    return f"[{interval.low:{form}}, {interval.high:{form}}]"


def against(errors: dict[str, pd.Series]) -> Iterator[str]:
    """Every space against the unrestricted one."""
    yield "| space | mean difference [95%] | it wins [95%] | KS | p (Holm) |"
    yield "|---|---|---|---|---|"
    first, *later = errors
    pairs = [differences({name: errors[name], first: errors[first]})[0] for name in later]
    for pair, p in zip(pairs, holm([pair.test.p_value for pair in pairs]), strict=True):
        yield (
            f"| {pair.a} | {pair.mean:+.1f} {limits(pair.mean_interval, '+.1f')} | "
            f"{pair.wins:.2f} {limits(pair.wins_interval, '.2f')} | {pair.test.ks:.2f} | {p:.1g} |"
        )


def best(table: pd.DataFrame) -> Iterator[str]:
    """Where the best networks of the unrestricted space lie."""
    yield "| column | best | 95% range |"
    yield "|---|---|---|"
    for column in COLUMNS:
        found = best_range(values(table, column), table["error_last"])
        yield f"| {column} | {found.best:.3g} | [{found.low:.3g}, {found.high:.3g}] |"


def search(errors: dict[str, pd.Series]) -> Iterator[str]:
    """The best error to expect of so many random networks."""
    curves = {name: search_curve(values) for name, values in errors.items()}
    draws = next(iter(curves.values())).m
    yield f"| space | {' | '.join(f'm = {m}' for m in draws)} |"
    yield "|---" * (len(draws) + 1) + "|"
    for name, one in curves.items():
        cells = zip(one.best, one.low, one.high, strict=True)
        yield f"| {name} | {' | '.join(f'{x:.1f} [{a:.1f}, {b:.1f}]' for x, a, b in cells)} |"


def fits(tables: dict[str, pd.DataFrame]) -> Iterator[str]:
    """How far the networks are from a quantised line, and whether that goes with their error."""
    yield "| space | quartiles of e_fit | rank correlation with the error [95%] |"
    yield "|---|---|---|"
    for name in FITTED:
        found = [linear_fit(stages_of(row)) for row in tables[name].to_dict("records")]
        e_fit = np.array([one.e_fit if one else np.nan for one in found])
        low, middle, high = np.nanquantile(e_fit, [0.25, 0.5, 0.75])
        r = rank_correlation(e_fit, tables[name]["error_last"])
        said = f"{r.rho:.2f} [{r.low:.2f}, {r.high:.2f}]"
        yield f"| {name} | {low:.2f}, {middle:.2f}, {high:.2f} | {said} |"


def main() -> None:
    tables = {name: pd.read_csv(FOLDER / f"{name}.csv") for name in STEPS}
    errors = {name: table["error_last"] for name, table in tables.items()}
    earlier = {name: pd.read_csv(FOLDER / "tuning" / f"{name}.csv")["error_last"] for name in STEPS}
    parts = (lineage(errors), against(errors), best(tables[STEPS[0]]), search(errors), fits(tables),
             lineage(earlier))  # fmt: skip
    for part in parts:
        print("\n".join(part), end="\n\n")


if __name__ == "__main__":
    main()
