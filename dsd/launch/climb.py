"""How many networks to train at a time: one more while more networks an hour come of it.

Epochs tell, as soon as they are recorded; nobody waits for networks to end. A network that trained
before the last change and after it is its own standard: by how much its epochs got longer says what
the change brought, however much networks differ. Where networks are too short for that, their whole
times are compared, and more of them are asked for.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dsd.store.crew_epochs import EpochSeen

LEAST = 0.05  # growth of networks an hour that another slot must bring
EPOCHS = 3  # of each slot, before anything is decided
NETWORKS = 8  # for each slot, where networks are compared with others: they differ


@dataclass
class Climb:
    """Slots: `slots` now, at most `most`; `before` are the epochs seen with one slot fewer.

    It is `patient` once no network was there both before and after a change.
    """

    slots: int
    most: int
    climbing: bool = True
    patient: bool = False
    before: Sequence[EpochSeen] = field(default_factory=list)

    def look(self, since_change: Sequence[EpochSeen], room: bool) -> int:
        """The slots from now on, by the epochs since they last changed.

        `room` says whether the device has memory for another one. Once another brings nothing, or
        has no room, the number stays.
        """
        seen = together(since_change, self.slots)
        if not self.climbing or not self._enough(seen):
            return self.slots
        grown = growth(self.before, seen, self.slots) if self.before else math.inf
        if grown is not None and grown >= 1 + LEAST and room and self.slots < self.most:
            self.before = seen
            self.slots += 1
        elif grown is not None:
            self.slots -= grown < 1 + LEAST
            self.climbing = False
        elif not self.patient and len(seconds_by_run(seen)) >= 2 * self.slots:
            self.patient, self.before = True, []  # from one fewer, with more networks
            self.slots -= 1
        return self.slots

    def _enough(self, seen: Sequence[EpochSeen]) -> bool:
        each = Counter(one.owner for one in seen)
        counted = sum(count >= EPOCHS for count in each.values())
        few = self.patient and len(seconds_by_run(seen)) < NETWORKS * self.slots
        return counted >= self.slots and not few


def together(epochs: Sequence[EpochSeen], slots: int) -> list[EpochSeen]:
    """Those that began when every slot's worker had recorded one: a process's first never counts.

    Until then workers are starting, and the others are quicker than they will be.
    """
    first: dict[str, float] = {}
    for epoch in epochs:
        first.setdefault(epoch.owner, epoch.ended)
    if len(first) < slots:
        return []
    all_there = max(first.values())
    # An epoch begins where the one before it was recorded; the clocks may differ by a little.
    return [one for one in epochs if one.began >= all_there - 0.1 * one.seconds]


def growth(before: Sequence[EpochSeen], after: Sequence[EpochSeen], slots: int) -> float | None:
    """Networks an hour with so many slots, over those with one fewer; None: not to be told yet."""
    was, now = seconds_by_run(before), seconds_by_run(after)
    more = slots / (slots - 1)
    paired = [one.run for one in after if one.run in was]  # each as often as it has epochs
    if len(paired) >= EPOCHS:
        slower = math.fsum(math.log(now[run] / was[run]) for run in paired) / len(paired)
        return more / math.exp(slower)
    if min(len(was) / (slots - 1), len(now) / slots) < NETWORKS:
        return None
    return more * _mean(was) / _mean(now)


def per_hour(epochs: Sequence[EpochSeen], slots: int) -> float:
    """Networks an hour that so many slots train at the speed of these epochs."""
    times = seconds_by_run(epochs)
    return 3600 * slots / _mean(times) if times else 0.0


def seconds_by_run(epochs: Sequence[EpochSeen]) -> dict[int, float]:
    """Run -> seconds that its whole training takes, by the mean of its epochs."""
    times: dict[int, list[float]] = defaultdict(list)
    for one in epochs:
        times[one.run].append(one.seconds * one.epochs)
    return {run: math.fsum(each) / len(each) for run, each in times.items()}


def _mean(times: Mapping[int, float]) -> float:
    return math.fsum(times.values()) / len(times)
