"""Train on two GPUs and on one; fails where they differ by more than rounding. Run by test_ddp."""

from __future__ import annotations

from pathlib import Path

import torch

from dsd.net.build import build
from dsd.train.data import load
from dsd.train.ddp import ALONE, Ranks
from dsd.train.device import prepare
from dsd.train.how import How
from dsd.train.loop import Session
from dsd.train.team import Team
from tests.train.conftest import make_regime, small_arch

HERE = Path(".")


def compared() -> None:
    """Two epochs of five steps, of X blocks and of Y blocks."""
    first, second = (torch.device(f"cuda:{number}") for number in range(2))
    regime = make_regime(train={"epochs": 2, "batch": 1000, "precise_bn_images": 2000},
                         augment={"crop": "random-resized"})  # fmt: skip
    how = How(graphs=False, memory_format="contiguous")
    team = Team([first, second], HERE, timeout_s=60)
    prepare(first)
    torch.backends.cudnn.allow_tf32 = False

    def started(ranks: Ranks) -> Session:
        torch.manual_seed(3)
        data = load(regime, HERE, first)
        return Session.start(build(arch), regime, data, first, 3, lambda: False, how, print, ranks)

    for block in "XY":
        arch = small_arch(8, depth=2, block=block, activation="silu")
        one, two = started(ALONE), started(team.join())
        team.introduce(two, arch.canonical, how, 0, None)
        for index in range(2):
            ours, theirs = two.epoch(index), one.epoch(index)
            assert abs(ours.train_loss - theirs.train_loss) < 1e-3, (ours, theirs)
            assert abs(ours.test_error - theirs.test_error) < 1, (ours, theirs)
        others = two.model.state_dict()
        for name, value in one.model.state_dict().items():
            torch.testing.assert_close(value, others[name], rtol=1e-2, atol=1e-3, msg=name)
    team.end()


if __name__ == "__main__":
    compared()
