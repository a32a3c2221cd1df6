"""Differences of populations in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsd.analysis.difference import Difference

MANY = 100_000
OPPOSITE = {"better": "worse", "worse": "better"}


def sentence(one: Difference, confidence: float) -> str:
    """What is shown about a pair of populations, and how sure that is."""
    level = f"{100 * confidence:g}% confidence"
    if one.verdict in OPPOSITE:
        way = "lower" if one.mean < 0 else "higher"
        return (
            f"{one.a} is {one.verdict} than {one.b} ({level}): its mean error is "
            f"{abs(one.mean):.1f} points {way}."
        )
    if one.verdict == "different":
        return f"{one.a} and {one.b} differ ({level}), but neither has the lower mean for sure."
    return f"{one.a} and {one.b}: no difference shown; {needed(one)}."


def of_the_second(one: Difference) -> str:
    """The verdict on the second population of the pair against the first, in a few words."""
    if one.verdict == "none":
        return f"no difference shown; {needed(one)}"
    return OPPOSITE.get(one.verdict, one.verdict)


def needed(one: Difference) -> str:
    """How many networks more would tell."""
    if one.more is None or one.more > MANY:
        return "what is seen is too small for any number of networks to show"
    return f"about {one.more:,} more networks of each would show a difference as large as seen"


def p_text(p: float) -> str:
    """0.012, or 3e-05; what is too small for a number is still not 0"""
    if p == 0:
        return "<1e-300"
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"
