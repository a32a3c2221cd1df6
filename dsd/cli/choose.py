"""Rows of the networks that a command names: populations, and runs by their ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from dsd.lab import Lab


def rows_of(lab: Lab, subjects: Sequence[str]) -> pd.DataFrame:
    """A row for each place of a run in a population (see `dsd.store.results.frame`).

    A plain number names a run, in all of its populations; anything else a population. No subjects
    mean everything. Raises DsdError, and UsageError for an import, which has no runs.
    """
    import pandas as pd

    from dsd.errors import UsageError
    from dsd.store.notes import no_run, run_number

    numbers = {run_number(subject) for subject in subjects} - {None}
    named = [lab.population(name) for name in subjects if run_number(name) is None]
    external = next((one.name for one in named if one.external), None)
    if external:
        raise UsageError(f"{external} was trained elsewhere and has no runs: `dsd export "
                         f"{external}` shows its networks.")  # fmt: skip
    tables = [one.frame for one in named]
    if numbers or not subjects:
        everything = lab.frame
        missing = sorted(number for number in numbers - set(everything["run"]) if number)
        if missing:
            raise no_run(missing[0])
        tables.append(everything[everything["run"].isin(numbers)] if numbers else everything)
    return pd.concat(tables, ignore_index=True).drop_duplicates(["population", "ordinal"])
