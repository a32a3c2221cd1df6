"""What a worker says about its claim: epochs, a result or a failure; late words are kept apart."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, case, func, literal, select

from dsd.store.claims import Claim, change, fence
from dsd.store.clock import now
from dsd.store.engine import Store, insert, writing
from dsd.store.schema import Epoch, LateResult, Run
from dsd.store.workers import heartbeat

_log = logging.getLogger(__name__)


def record_epoch(store: Store, claim: Claim, epoch: Mapping[str, float]) -> bool:
    """Store one epoch of the claim's attempt (again: the later one counts); False if it was lost.

    `epoch` has the key "epoch" (from 1) and any of the other columns of `epochs`.
    """
    seen = {key: _stored_number(value) for key, value in epoch.items()}
    names = ["run_id", "attempt", "recorded", *seen]
    values = [literal(value, Epoch.__table__.c[key].type) for key, value in seen.items()]
    row = select(Run.id, Run.attempts, now(), *values).where(*fence(claim))
    with writing(store) as connection:
        new = insert(connection, Epoch).from_select(names, row)
        again = {name: new.excluded[name] for name in ("recorded", *seen)}
        key = [Epoch.run_id, Epoch.attempt, Epoch.epoch]
        new = new.on_conflict_do_update(index_elements=key, set_=again).returning(Epoch.epoch)
        kept = connection.execute(new).first()
        heartbeat(connection, claim.owner, images_per_s=seen.get("images_per_s"))
    return kept is not None


def finish(
    store: Store,
    claim: Claim,
    *,
    state: str = "done",
    error_last: float,
    error_lowest: float,
    provenance: Mapping[str, Any] | None = None,
) -> bool:
    """Record a result (errors in percent), "done" or "diverged"; False if the claim was lost."""
    result: dict[str, Any] = {"state": state, "provenance": dict(provenance or {})}
    result["error_last"] = _stored_number(error_last)
    result["error_lowest"] = _stored_number(error_lowest)
    return _settle(store, claim, result)


def fail(
    store: Store, claim: Claim, *, state: str = "failed", message: str, trace: str | None = None
) -> bool:
    """Record a run without result, "failed" or "out-of-memory"; False if the claim was lost."""
    return _settle(store, claim, {"state": state, "message": message, "trace": trace})


def _settle(store: Store, claim: Claim, result: dict[str, Any]) -> bool:
    end = {"finished": now(), "seconds": _seconds(claim), "lease_until": None}
    with writing(store) as connection:
        if change(connection, claim, **result, **end) or _is_settled(connection, claim, result):
            return True
        _keep_late(connection, claim, result)
    _log.warning("%s: the lease of attempt %d was lost; its result is kept apart (%s)",
                 claim.label, claim.attempt, result["state"])  # fmt: skip
    return False


def _seconds(claim: Claim) -> Any:
    """From the claim to now, or what its epochs took where that is more: those that an earlier
    attempt left in a checkpoint count."""
    mine = Epoch.run_id == claim.run_id, Epoch.attempt == claim.attempt
    trained = select(func.sum(Epoch.seconds)).where(*mine).scalar_subquery()
    held = now() - Run.started
    return case((trained > held, trained), else_=held)


def _is_settled(connection: Connection, claim: Claim, result: dict[str, Any]) -> bool:
    """Whether this very result is recorded: a commit whose answer was lost on the way."""
    *mine, _ = fence(claim)
    same = select(Run.id).where(*mine, Run.state == result["state"])
    return connection.execute(same).first() is not None


def _keep_late(connection: Connection, claim: Claim, result: dict[str, Any]) -> None:
    texts = {"attempt": claim.attempt, "owner": claim.owner, "state": result["state"]}
    columns = LateResult.__table__.c
    said = {name: literal(value, columns[name].type) for name, value in texts.items()}
    said["result"] = literal(result, columns.result.type)
    # The network, too: SQLite gives the id of a deleted run to a later one.
    same = (Run.id == claim.run_id, Run.network == claim.digest)
    row = select(Run.id, now(), *said.values()).where(*same)
    late = insert(connection, LateResult).from_select(["run_id", "received", *said], row)
    connection.execute(late.on_conflict_do_nothing())


def _stored_number(value: float) -> float | None:
    """A plain number; NaN is stored as NULL, as SQLite does on its own."""
    number = value if isinstance(value, int) else float(value)
    return None if math.isnan(number) else number
