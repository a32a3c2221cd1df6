"""Random buildable networks for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from dsd.net.arch import Arch, Stage, Stem
from dsd.net.blocks import BLOCKS

stems = st.builds(
    Stem,
    inputs=st.sampled_from([1, 3]),
    width=st.sampled_from([7, 16, 32]),
    kernel=st.sampled_from([3, 5, 7]),
    stride=st.sampled_from([1, 2]),
    pool=st.booleans(),
)


@st.composite
def stages(draw):
    """A stage whose g divides w_b."""
    g = draw(st.sampled_from([1, 2, 4, 8]))
    b = draw(st.sampled_from([0.5, 1, 2, 4]))
    w_b = g * draw(st.integers(1, 6)) * 2
    return Stage(draw(st.integers(1, 3)), int(w_b * b), b, g, draw(st.sampled_from([1, 2])))


archs = st.builds(
    Arch,
    stem=stems,
    stages=st.lists(stages(), min_size=1, max_size=5).map(tuple),
    block=st.sampled_from(sorted(BLOCKS)),
    activation=st.sampled_from(["relu", "silu"]),
    classes=st.integers(2, 12),
)
