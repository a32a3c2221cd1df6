"""Redo the statistics of docs/study.md from the exported networks beside this file.

python docs/study/redo.py
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from dsd.analysis.best import best_range
from dsd.analysis.difference import differences, holm
from dsd.analysis.search import expected_best
from dsd.analysis.summary import summarize
from dsd.space.spec import load_space
from dsd.where import values

FOLDER = Path(__file__).parent
STEPS = ("anynetx_a", "anynetx_b", "anynetx_c", "anynetx_d", "anynetx_e", "regnetx")
COLUMNS = ("d", "w1", "w4", "w4 / w1", "d3 / d", "b1", "g1")
DRAWS = (1, 4, 16, 64)


def lineage(errors: dict[str, pd.Series]) -> Iterator[str]:
    """A row a step: what it adds, its numbers, and the verdict against the one before."""
    yield "| space | adds | n | min | mean [95%] | change | p (Holm) | against the one before |"
    yield "|---|---|---|---|---|---|---|---|"
    pairs = [differences({a: errors[a], b: errors[b]})[0] for a, b in itertools.pairwise(STEPS)]
    corrected = holm([pair.p_holm for pair in pairs])
    before: tuple[str, ...] = ()
    for i, name in enumerate(STEPS):
        space, s = load_space(name), summarize(errors[name], name)
        adds = ", ".join(f"`{rule}`" for rule in space.restrict if rule not in before)
        before = space.restrict
        mean = f"{s.mean:.1f} [{s.mean_interval.low:.1f}, {s.mean_interval.high:.1f}]"
        said = ["", "", ""]
        if i:
            p, gap = corrected[i - 1], -pairs[i - 1].mean
            verdict = "no difference shown" if p >= 0.05 else "better" if gap < 0 else "worse"
            said = [f"{gap:+.1f}", f"{p:.1g}", verdict]
        form = adds or ("nothing" if space.form == "per-stage" else "a quantised line")
        yield f"| {name} | {form} | {s.n} | {s.min:.1f} | {mean} | {' | '.join(said)} |"


def against(errors: dict[str, pd.Series]) -> Iterator[str]:
    """Every space against the unrestricted one."""
    yield "| pair | mean difference [95%] | a network of the second wins [95%] | KS | p (Holm) |"
    yield "|---|---|---|---|---|"
    first = STEPS[0]
    pairs = [differences({name: errors[name], first: errors[first]})[0] for name in STEPS[1:]]
    for pair, p in zip(pairs, holm([pair.p_holm for pair in pairs]), strict=True):
        mean, wins = pair.mean_interval, pair.wins_interval
        yield (
            f"| {first}, {pair.a} | {pair.mean:+.1f} [{mean.low:+.1f}, {mean.high:+.1f}] | "
            f"{pair.wins:.2f} [{wins.low:.2f}, {wins.high:.2f}] | {pair.test.ks:.2f} | {p:.1g} |"
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
    yield f"| space | {' | '.join(f'm = {m}' for m in DRAWS)} |"
    yield "|---" * (len(DRAWS) + 1) + "|"
    for name in (STEPS[0], STEPS[3], STEPS[5]):
        found = expected_best(errors[name].to_numpy(), DRAWS)
        yield f"| {name} | {' | '.join(f'{x:.1f}' for x in found)} |"


def main() -> None:
    tables = {name: pd.read_csv(FOLDER / f"{name}.csv") for name in STEPS}
    errors = {name: table["error_last"] for name, table in tables.items()}
    for part in (lineage(errors), against(errors), best(tables[STEPS[0]]), search(errors)):
        print("\n".join(part), end="\n\n")


if __name__ == "__main__":
    main()
