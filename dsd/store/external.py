"""A population that was trained elsewhere, as its file told it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

LABEL = "imported"


@dataclass(frozen=True)
class ExternalRow:
    """One network: errors in percent (None where unknown), properties, test error by epoch."""

    error_last: float | None
    error_lowest: float | None
    properties: dict[str, Any]
    curve: list[float | None] | None = None
    state: str = "done"


@dataclass(frozen=True)
class External:
    """Networks trained elsewhere, in the order of their file.

    `label` says under which conditions, as a regime does; `tally` what was left out of the file.
    """

    name: str
    label: str
    kind: str
    source: str
    digest: str
    rows: tuple[ExternalRow, ...]
    tally: dict[str, Any] = field(default_factory=dict)

    def frame(self) -> pd.DataFrame:
        """One row a network: the columns of a population's frame that are known, and its own."""
        import pandas as pd

        table: dict[str, Any] = {
            "population": self.name, "space": self.name, "regime": self.label,
            "ordinal": range(len(self.rows)),
            "state": [row.state for row in self.rows],
        }  # fmt: skip
        for name in ("error_last", "error_lowest"):
            table[name] = pd.array([getattr(row, name) for row in self.rows], dtype="Float64")
            table[name] = table[name].to_numpy(dtype=float, na_value=float("nan"))
        for name in dict.fromkeys(self._property_names()):
            if name not in table:
                table[name] = [row.properties.get(name) for row in self.rows]
        return pd.DataFrame(table)

    def curves(self) -> pd.DataFrame:
        """One row an epoch (from 1) where the file had them: population, ordinal, test_error."""
        import pandas as pd

        rows = [
            (self.name, i, epoch, error)
            for i, row in enumerate(self.rows)
            for epoch, error in enumerate(row.curve or (), 1)
        ]
        return pd.DataFrame(rows, columns=["population", "ordinal", "epoch", "test_error"])

    def _property_names(self) -> Iterator[str]:
        for row in self.rows:
            yield from row.properties
