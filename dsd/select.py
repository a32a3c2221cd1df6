"""The second stage: choose networks by what is known of them, and queue them under a regime."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dsd.errors import DsdError, UsageError, suggestion
from dsd.lab import SCORED, UNFINISHED
from dsd.net.arch import Arch
from dsd.space.selection import Selection, checked_name, published_selection, repeats_of

if TYPE_CHECKING:
    import pandas as pd

    from dsd.lab import Lab
    from dsd.store.populations import PopulationRow, Saved

FIRST = "first_error"  # the column of the error that chose a network


@dataclass(frozen=True)
class Enqueued:
    """What `enqueue` did: one `Saved` for each seed, and how many networks lie outside the band."""

    selection: Selection
    regime: str
    seeds: tuple[int, ...]
    saved: tuple[Saved, ...]
    networks: int
    outside: int
    adapted: bool


def enqueue(
    lab: Lab, selection: Selection, regime: str = "", repeats: int = 5, priority: int = 0
) -> Enqueued:
    """Queue every network of a selection `repeats` times under a regime, each under its own seed.

    Asking again adds nothing; asking for more repeats adds those. Raises DsdError where the name
    means another selection here.
    """
    from dsd.regime import load_regime
    from dsd.space.networks import published
    from dsd.space.spec import space_names
    from dsd.store.imports import import_sizes
    from dsd.store.populations import save_sample

    conditions = load_regime(regime or lab.settings.regime)
    name = checked_name(selection.name)
    made = list(repeats_of(selection, conditions, repeats))
    if name in {*space_names(), *published(), *import_sizes(lab.store)}:
        raise UsageError(f"'{name}' names a space, a published network or an import: give the "
                         "selection another --name.")  # fmt: skip
    saved = [save_sample(lab.store, one, priority, kind="selection") for one in made]
    first = made[0]
    adapted = {arch.digest for arch in first.archs} != {arch.digest for arch in selection.archs}
    seeds = tuple(one.seed for one in made)
    return Enqueued(selection, conditions.name, seeds, tuple(saved), len(first.archs),
                    first.outside, adapted)  # fmt: skip


def best_of(
    lab: Lab, reference: str, k: int, metric: str = "last", where: str = "", name: str = ""
) -> tuple[Selection, int]:
    """The k networks with the lowest errors of a population, and how many are unfinished there.

    Ties fall in sampling order; a network that several seeds drew counts once, at its best. A
    reference without a regime means any: of several one has to be named. Raises DsdError where
    fewer than k are scored.
    """
    from dsd.where import matching

    population = lab.population(_one_regime(lab, reference))
    if population.external:
        raise UsageError(f"{reference} was trained elsewhere: its networks cannot be built here.")
    table = population.frame
    table = table[matching(table, where)] if where else table
    if not len(table):
        raise DsdError(f"No network of {reference} meets --where '{where}'.")
    scored = table[table["state"].isin(SCORED)].dropna(subset=[f"error_{metric}"])
    ranked = scored.sort_values(f"error_{metric}", kind="stable").drop_duplicates("digest")
    if len(ranked) < k:
        raise DsdError(f"{len(ranked)} of {len(table)} networks of {reference} have an error: the "
                       f"{k} best cannot be told.")  # fmt: skip
    best = ranked.head(k)
    origin = {
        "how": "top", "k": k, "of": list(population.parts), "metric": metric, "where": where,
        "n": len(table), "scored": len(scored), "seen": _seen(population.rows),
    }  # fmt: skip
    space = population.rows[0].space
    archs = _archs(lab, population.rows, list(best["digest"]))
    chosen = Selection(name or f"top{k}/{space}", archs, _known(best, metric), origin)
    return chosen, int(table["state"].isin(UNFINISHED).sum())


def of_runs(lab: Lab, runs: Sequence[int], name: str = "") -> Selection:
    """The networks of some runs. Raises DsdError for one that there is not."""
    from dsd.store.runs import one_run

    found = [one_run(lab.reader, run) for run in dict.fromkeys(runs)]
    if len(found) > 1 and not name:
        raise UsageError("Several runs need a name for their selection: --name.")
    archs = tuple(Arch.from_json(json.dumps(run["network_text"])) for run in found)
    draws = tuple({} if run["error_last"] is None else {FIRST: run["error_last"]} for run in found)
    # Named by what was trained, as the number of a run changes when databases are merged.
    of = [f"{run['network']} under {run['regime']}, seed {run['seed']}" for run in found]
    seen = sorted({(run["regime"], run["seed"]) for run in found})
    origin = {"how": "run", "of": of, "seen": [list(pair) for pair in seen]}
    return Selection(name or f"network/{archs[0].digest}", archs, draws, origin)


def named_selection(lab: Lab, name: str) -> Selection:
    """A published network, or a selection that is stored. Raises UsageError."""
    from dsd.space.networks import published
    from dsd.space.spec import space_names
    from dsd.store.declared import selection_names, selection_text
    from dsd.store.migrate import revision_of

    if name in published():
        return published_selection(name)
    there = revision_of(lab.settings.db) is not None  # a name that means nothing makes no database
    text = selection_text(lab.store, name) if there else None
    if text is not None:
        return Selection.from_text(text, name)
    known = [*published(), *(selection_names(lab.store) if there else ())]
    best = f" The best of a population: dsd enqueue --top 25 {name}"
    hint = best if name in space_names() or "@" in name else suggestion(name, known)
    raise UsageError(f"'{name}' is no published network and no selection here.{hint}")


def _one_regime(lab: Lab, reference: str) -> str:
    """The reference with its regime. Raises UsageError where several would do."""
    from dsd.store.imports import import_sizes
    from dsd.store.papers import PREFIX
    from dsd.store.populations import parse_reference, resolve

    if reference.startswith(PREFIX) or reference in import_sizes(lab.reader):
        return reference
    rows = resolve(lab.reader, reference)
    *_, seed = parse_reference(reference)
    there = list(dict.fromkeys(f"{row.space}@{row.regime}" for row in rows))
    if len(there) > 1:
        raise UsageError(f"'{reference}' was trained under several regimes: name one of "
                         f"{', '.join(there)}.")  # fmt: skip
    return there[0] + (f"#{seed}" if seed is not None else "")


def _seen(rows: Sequence[PopulationRow]) -> list[list[Any]]:
    """The (regime, seed) of populations whose errors were looked at."""
    return [[row.regime, row.seed] for row in rows]


def _archs(lab: Lab, rows: Sequence[PopulationRow], digests: Sequence[str]) -> tuple[Arch, ...]:
    from dsd.store.populations import stored_archs

    known = {arch.digest: arch for row in rows for arch in stored_archs(lab.reader, row)[0]}
    return tuple(known[digest] for digest in digests)


def _known(best: pd.DataFrame, metric: str) -> tuple[dict[str, float], ...]:
    """The error that chose each network, and what had been drawn beyond its stages."""
    columns = [name for name in ("w0", "wa", "wm") if name in best]
    rows = best[[f"error_{metric}", *columns]].rename(columns={f"error_{metric}": FIRST})
    return tuple({str(key): value for key, value in row.items()} for row in rows.to_dict("records"))
