"""How many slots: the controller against simulated devices whose throughput is known."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsd.launch.climb import LEAST, Climb, growth, per_hour, together
from dsd.store.crew_epochs import EpochSeen

MOST = 12
Curve = Callable[[int], float]


class Device:
    """Trains networks in slots; `speed(k)` is what k of them get done together (1 for one alone).

    `sizes` are the seconds of an epoch of each network alone, in the order they are taken; every
    epoch's time is off by up to `noise`. A process starts for `start` seconds before its first
    epoch, which takes twice as long.
    """

    def __init__(self, speed: Curve, sizes: Callable[[], float], epochs: int, noise: float = 0.0,
                 seed: int = 0, start: float = 5.0) -> None:  # fmt: skip
        self.speed, self.sizes, self.epochs = speed, sizes, epochs
        self.noise, self.start = noise, start
        self.random = random.Random(seed)
        self.clock = 0.0
        self.runs = 0
        self.workers: list[dict[str, float]] = []
        self.recorded: list[EpochSeen] = []

    def step(self) -> None:
        """Until the next epoch ends; work is done at the speed of those that train then."""
        while True:
            busy = [w for w in self.workers if w["starts"] <= self.clock]
            next_start = min((w["starts"] for w in self.workers if w not in busy), default=1e99)
            waking = next_start - self.clock
            each = self.speed(len(busy)) / len(busy) if busy else 0.0
            first = min(busy, key=lambda w: w["left"], default=None)
            if first is None or first["left"] / each > waking:
                self._pass(busy, waking, each)
                self.clock = next_start
                continue
            self._pass(busy, first["left"] / each, each)
            return self._end(first)

    def _pass(self, busy: list[dict[str, float]], seconds: float, each: float) -> None:
        for one in busy:
            if one["left"] == one["work"]:
                one["began"] = self.clock
            one["left"] -= seconds * each
        self.clock += seconds

    def _end(self, one: dict[str, float]) -> None:
        seen = EpochSeen(str(one["name"]), int(one["run"]), one["began"], self.clock, self.epochs)
        self.recorded.append(seen)
        one["epoch"] += 1
        if one["epoch"] == self.epochs:
            self._take(one)
        self._begin(one)

    def _take(self, one: dict[str, float]) -> None:
        self.runs += 1
        one |= {"run": self.runs, "epoch": 0, "size": self.sizes()}

    def _begin(self, one: dict[str, float]) -> None:
        off = 1 + self.random.uniform(-self.noise, self.noise)
        one["work"] = one["left"] = one["size"] * off

    def set(self, slots: int) -> None:
        """Start or stop workers."""
        del self.workers[slots:]
        while len(self.workers) < slots:
            name = self.random.random()
            one = {"name": name, "starts": self.clock + self.start, "began": self.clock}
            self._take(one)
            self._begin(one)
            one["work"] = one["left"] = 2 * one["left"]
            self.workers.append(one)


def settled(device: Device, climb: Climb, room: Callable[[int], bool] = lambda k: True) -> int:
    """The number that the controller stays at."""
    device.set(climb.slots)
    changed = 0
    for _ in range(800):
        for _ in range(6):
            device.step()
        before = climb.slots
        device.set(climb.look(device.recorded[changed:], room(before)))
        if climb.slots != before:
            changed = len(device.recorded)
        if not climb.climbing:
            return climb.slots
    raise AssertionError("it never settles")


def expected(speed: Curve, most: int = MOST) -> int:
    best = 1
    while best < most and speed(best + 1) / speed(best) >= 1 + LEAST:
        best += 1
    return best


@settings(max_examples=60, deadline=None)
@given(st.integers(1, MOST), st.integers(0, 1000))
def test_it_finds_where_the_device_is_full(full, seed):
    """Throughput grows up to `full` slots; networks differ fivefold, epochs by a few percent."""
    rng = random.Random(seed)
    device = Device(lambda k: min(k, full), lambda: rng.uniform(10, 50), 60, 0.02, seed)
    assert settled(device, Climb(1, MOST)) == full


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(0, 1000))
def test_where_few_networks_outlast_a_change_it_comes_close(full, seed):
    rng = random.Random(seed)
    device = Device(lambda k: min(k, full), lambda: rng.uniform(10, 50), 10, 0.02, seed)
    assert abs(settled(device, Climb(1, MOST)) - full) <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.floats(0.2, 0.9), st.integers(0, 1000))
def test_it_stops_where_more_slots_get_in_each_other_s_way(peak, fall, seed):
    rng = random.Random(seed)

    def speed(k: int) -> float:
        return k if k <= peak else peak * fall ** (k - peak)

    device = Device(speed, lambda: rng.uniform(10, 50), 20, 0.02, seed)
    assert settled(device, Climb(1, MOST)) == peak


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(0, 1000))
def test_short_networks_are_compared_by_their_number(full, seed):
    """One epoch each: none is there before and after a change. Of one size, so the answer is."""
    device = Device(lambda k: min(k, full), lambda: 10.0, 1, 0.05, seed)
    assert settled(device, Climb(1, MOST)) == full


@pytest.mark.parametrize("peak", [1.3, 2.0, 5.0])
def test_a_curve_that_flattens_is_followed_to_the_threshold(peak):
    def speed(k: int) -> float:
        return peak * k / (k + peak - 1)

    device = Device(speed, lambda: 20.0, 50)
    assert settled(device, Climb(1, MOST)) == expected(speed)


def test_memory_and_the_most_allowed_limit_it():
    for most, limit, found in ((3, 99, 3), (12, 5, 5), (1, 99, 1)):
        device = Device(float, lambda: 10.0, 50)
        assert settled(device, Climb(1, most), lambda k, n=limit: k < n) == found


def test_nothing_is_decided_on_a_process_s_first_epoch_nor_while_one_starts():
    one = [EpochSeen("a", 1, float(t), t + 1.0, 9) for t in range(8)]
    assert together(one, 2) == [], "the second has recorded nothing"
    two = [*one, EpochSeen("b", 2, 3.0, 6.5, 9)]
    assert [epoch.began for epoch in together(two, 2)] == [7.0]
    climb = Climb(1, 4)
    for known in range(4):
        assert climb.look(one[:known], room=True) == 1
    assert climb.look(one[:4], room=True) == 2


def test_networks_an_hour_and_what_another_slot_brings():
    before = [EpochSeen("a", 1, 10.0 * t, 10.0 * t + 10, 6) for t in range(3)]
    assert per_hour(before, 1) == 60
    assert per_hour([], 1) == 0
    after = [EpochSeen("a", 1, 100 + 16.0 * t, 116 + 16.0 * t, 6) for t in range(3)]
    other = [EpochSeen("b", 2, 100 + 99.0 * t, 199 + 99.0 * t, 6) for t in range(3)]
    assert growth(before, after + other, 2) == pytest.approx(2 / 1.6), "the other is another size"
    assert growth(before, other, 2) is None, "one network against another says nothing"
