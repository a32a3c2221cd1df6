"""Files of networks trained elsewhere: CSV, the NDS release, and collected pycls sweeps."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsd.errors import UsageError, suggestion
from dsd.store.external import External, ExternalRow

SHOWN = 3  # bad rows that an error names
ERROR_NAMES = ("error", "error_last", "top1_error", "top1_err", "err", "test_error")


class BadRow(Exception):
    """A row that says nothing usable, and why."""


@dataclass(frozen=True)
class Read:
    """What a file holds: good rows in its order, and the bad ones by their place."""

    path: Path
    kind: str
    digest: str
    rows: tuple[ExternalRow, ...]
    bad: tuple[str, ...]
    note: str = ""

    def named(self, name: str, label: str, skip_bad: bool = False) -> External:
        """The population. Raises UsageError for bad rows, unless they may be skipped."""
        if self.bad and not skip_bad:
            more = f" and {len(self.bad) - SHOWN} more" if len(self.bad) > SHOWN else ""
            raise UsageError(
                f"{self.path}: {len(self.bad)} of {len(self.bad) + len(self.rows)} rows are of no "
                f"use: {'; '.join(self.bad[:SHOWN])}{more}. Nothing was imported; mend them, or "
                f"leave them out with --skip-bad{self._diverged()}."
            )
        if not self.rows:
            raise UsageError(f"{self.path}: no row with an error in it.")
        tally = {"rows": len(self.rows), "bad": len(self.bad), "bad_rows": list(self.bad[:100])}
        tally |= {"note": self.note} if self.note else {}
        return External(name, label, self.kind, self.path.name, self.digest, self.rows, tally)

    def _diverged(self) -> str:
        """What to do instead where rows may be of networks that diverged."""
        if not any("nan" in place or "inf" in place for place in map(str.lower, self.bad)):
            return ""
        return (
            ", which flatters their space if they diverged: those count at chance level, such as"
            " 90 of 10 classes, with a column state = diverged"
        )


def read_csv(path: Path, error: str = "") -> Read:
    """One network a line: an error column (percent) and any property columns.

    Without a name the error column is the one called `error` or alike. Raises UsageError.
    """
    text, digest = _text(path)
    lines = csv.DictReader(io.StringIO(text))
    headers = [name.strip() for name in lines.fieldnames or []]
    if len(set(headers)) < len(headers):
        raise UsageError(f"{path}: a column is named twice: {', '.join(headers)}.")
    lines.fieldnames = headers
    column = _error_column(path, headers, error)
    lowest = "error_lowest" if column == "error_last" and "error_lowest" in headers else ""

    def read(record: dict[str, Any]) -> ExternalRow:
        if None in record or None in record.values():
            raise BadRow("another number of cells than the header")
        last = _percent(record[column], column)
        low = _percent(record[lowest], lowest) if lowest else last
        own = {key: _cell(text) for key, text in record.items() if key not in (column, lowest)}
        state = "diverged" if own.get("state") == "diverged" else "done"
        return ExternalRow(last, low, own, None, state)

    numbered = ((f"line {lines.line_num}", record) for record in lines)
    rows, bad = _sorted_out(numbered, read)
    note = f"error from column {column}" + ("" if lowest else ", taken as last and as lowest")
    return Read(path, "csv", digest, rows, bad, note)


def read_nds(path: Path) -> Read:
    """The release of "On Network Design Spaces for Visual Recognition" (arXiv 1905.13214).

    Index 0 of a network's lists is its stem; bot_mul is 1/b, num_gs a count of groups.
    Raises UsageError.
    """
    jobs, digest = _jobs(path, lists=("top", "mid"))

    def read(job: dict[str, Any]) -> ExternalRow:
        curve = [_number(error) for error in job.get("test_ep_top1") or []]
        low = _percent(job["min_test_top1"], "min_test_top1")
        last = _percent(curve[-1], "test_ep_top1") if curve else None
        own = _nds_network(job["net"]) | _costs(job)
        optim = job.get("optim") or {}
        names = {"base_lr": "lr", "wd": "weight_decay", "max_ep": "epochs"}
        own |= {new: optim[old] for old, new in names.items() if old in optim}
        return ExternalRow(last, low, own, curve or None)

    rows, bad = _sorted_out(jobs, read)
    return Read(path, "nds", digest, rows, bad, "errors of the NDS release")


def read_pycls(path: Path) -> Read:
    """A sweep as pycls collects it: one object a job with cfg, complexity and test_epoch.

    Raises UsageError.
    """
    jobs, digest = _jobs(path)

    def read(job: dict[str, Any]) -> ExternalRow:
        tested = job["test_epoch"]
        low = _percent(tested["min_top1_err"][-1], "min_top1_err")
        curve = [_number(error) for error in tested.get("top1_err") or []]
        last = _percent(curve[-1], "top1_err") if curve else None
        return ExternalRow(last, low, _pycls_network(job["cfg"]) | _costs(job), curve or None)

    rows, bad = _sorted_out(jobs, read)
    return Read(path, "pycls", digest, rows, bad, "errors of a pycls sweep")


READERS: dict[str, Callable[..., Read]] = {"csv": read_csv, "nds": read_nds, "pycls": read_pycls}


def _sorted_out(
    records: Iterable[tuple[str, Any]], read: Callable[[Any], ExternalRow]
) -> tuple[tuple[ExternalRow, ...], tuple[str, ...]]:
    """The rows that could be read, and the others as "place: why"."""
    rows, bad = [], []
    for place, record in records:
        try:
            rows.append(read(record))
        except BadRow as error:
            bad.append(f"{place}: {error}")
        except KeyError as error:
            bad.append(f"{place}: {error} is missing")
        except (TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError):
            bad.append(f"{place}: not of the expected form")
    return tuple(rows), tuple(bad)


def _text(path: Path) -> tuple[str, str]:
    try:
        data = path.read_bytes()
        return data.decode("utf-8-sig"), hashlib.sha256(data).hexdigest()[:16]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a text in UTF-8.") from None


def _jobs(path: Path, lists: tuple[str, ...] = ()) -> tuple[Iterator[tuple[str, Any]], str]:
    """A JSON list of objects, or lists of them under some keys, each with its place."""
    text, digest = _text(path)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{path}: cannot be read as JSON: {error}") from None
    if isinstance(found, dict) and any(key in found for key in lists):
        found = [job for key in lists for job in found.get(key, [])]
    if not isinstance(found, list):
        raise UsageError(f"{path}: holds no list of networks.")
    return ((f"network {i}", job) for i, job in enumerate(found)), digest


def _error_column(path: Path, headers: list[str], wanted: str) -> str:
    if wanted:
        if wanted not in headers:
            hint = suggestion(wanted, headers)
            raise UsageError(f"{path}: no column '{wanted}' for --error.{hint}")
        return wanted
    found = [name for name in ERROR_NAMES if name in headers]
    if not found:
        columns = ", ".join(headers) or "none"
        raise UsageError(f"{path}: which column is the error? Name it by --error; there are "
                         f"{columns}.")  # fmt: skip
    return found[0]


def _percent(value: Any, name: str) -> float:
    """An error in percent. Raises BadRow."""
    number = _number(value)
    if number is None:
        raise BadRow(f"{name} = {value!r} is no number")
    if not 0 <= number <= 100:
        raise BadRow(f"{name} = {number:g} is not in 0..100 percent")
    return number


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _cell(text: str) -> Any:
    """A number where the text is one, None for an empty cell."""
    if not text.strip():
        return None
    number = _number(text)
    if number is None:
        return text
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _costs(job: dict[str, Any]) -> dict[str, Any]:
    """flops, params and acts, where the file has them."""
    known = {**job, **(job.get("complexity") or {})}
    return {key: known[key] for key in ("flops", "params", "acts") if key in known}


def _nds_network(net: dict[str, Any]) -> dict[str, Any]:
    if "genotype" in net:
        plain = {key: value for key, value in net.items() if _number(value) is not None}
        return plain | {"genotype": json.dumps(net["genotype"], sort_keys=True)}
    depths, widths = net["ds"][1:], net["ws"][1:]
    multipliers = [m or 1 for m in net.get("bot_muls", [1] * len(net["ds"]))[1:]]
    counts = [c or 1 for c in net.get("num_gs", [1] * len(net["ds"]))[1:]]
    groups = [w * m / c for w, m, c in zip(widths, multipliers, counts, strict=True)]
    stages = {"d": depths, "w": widths, "b": [1 / m for m in multipliers], "g": groups}
    return {"block": net.get("block_type"), "stages": len(depths), **_by_stage(stages)}


def _pycls_network(cfg: dict[str, Any]) -> dict[str, Any]:
    model = (cfg.get("MODEL") or {}).get("TYPE", "")
    optim = cfg.get("OPTIM") or {}
    names = {"BASE_LR": "lr", "WEIGHT_DECAY": "weight_decay", "MAX_EPOCH": "epochs"}
    own = {new: optim[old] for old, new in names.items() if old in optim}
    if model == "regnet":
        net = cfg["REGNET"]
        names = {"DEPTH": "d", "W0": "w0", "WA": "wa", "WM": "wm", "GROUP_W": "g"}
        own |= {new: net[old] for old, new in names.items()}
        return own | {"b": 1 / net.get("BOT_MUL", 1.0)}
    if model == "anynet":
        net = cfg["ANYNET"]
        depths = net["DEPTHS"]
        plain = [1] * len(depths)
        multipliers = net.get("BOT_MULS") or plain
        stages = {"d": depths, "w": net["WIDTHS"], "b": [1 / m for m in multipliers],
                  "g": net.get("GROUP_WS") or plain}  # fmt: skip
        return own | {"stages": len(depths), **_by_stage(stages)}
    return own


def _by_stage(stages: dict[str, list[Any]]) -> dict[str, Any]:
    """d1, w1, ..., and the total depth."""
    if len({len(values) for values in stages.values()}) != 1:
        raise BadRow("lists of different lengths for its stages")
    columns = {f"{name}{i + 1}": v for name, values in stages.items() for i, v in enumerate(values)}
    return {"d": sum(stages["d"]), **columns}
