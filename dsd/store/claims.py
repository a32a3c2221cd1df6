"""What a claim is, and the fence that every later word of its owner has to pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, update

from dsd.store.schema import Run


@dataclass(frozen=True)
class Claim:
    """One run in one owner's hands; `attempt` tells it from other claims of the same run.

    `population` is the full name of one that wants it, "" for none; `selected`: some selection
    wants it, so its weights are worth keeping.
    """

    run_id: int
    attempt: int
    owner: str
    digest: str
    arch_text: str
    regime_name: str
    regime_text: str
    seed: int
    label: str
    selected: bool = False
    population: str = ""


def fence(claim: Claim) -> tuple[Any, ...]:
    """The conditions under which a claim still holds."""
    mine = (Run.id == claim.run_id, Run.owner == claim.owner, Run.attempts == claim.attempt)
    return (*mine, Run.state == "running")


def change(connection: Connection, claim: Claim, **values: Any) -> bool:
    """Change the claimed run in one statement, if the claim still holds; whether it did."""
    changed = connection.execute(update(Run).where(*fence(claim)).values(**values))
    return changed.rowcount == 1
