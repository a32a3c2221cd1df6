"""Two ranks, real processes over gloo, give what one device gives: all that differs is rounding."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dsd.net.arch import Arch
from dsd.net.build import build
from dsd.regime import Regime
from dsd.train.augment import Normalization, augmented
from dsd.train.checkpoint import Checkpoint
from dsd.train.data import Dataset, load
from dsd.train.ddp import ALONE, Indivisible, Ranks, check_batch
from dsd.train.how import How
from dsd.train.loop import Diverged, Epoch, Session, Stopped
from dsd.train.share import WHOLE, Share
from dsd.train.synced_norm import OnCpu, OnGpu, synced
from dsd.train.team import Team
from tests.train.conftest import make_regime, random_images, small_arch

CPU = torch.device("cpu")
HERE = Path(".")
# A sum of n float32 numbers is known to about sqrt(n) of their last places, 6e-8 each; the longest
# here is over 1,000 images of 49 pixels, so 1e-5 of it. A smooth activation carries that on through
# the steps; a kink like ReLU's, on whose sides a rounded zero falls, magnifies it a hundred times,
# and a pixel of a crop between two values may be rounded to either. Measured: below 1e-4.
CLOSE = 2e-4
BLOCKS = {
    "groups": small_arch(8, depth=2, activation="silu"),
    "squeeze-excite": small_arch(8, block="Y", activation="silu"),
}


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    """This process and another one."""
    pair = Team([CPU, CPU], HERE, timeout_s=60)
    yield pair
    pair.end()
    assert not pair.peers


def started(arch: Arch, regime: Regime, ranks: Ranks = ALONE) -> Session:
    torch.manual_seed(3)
    data = load(regime, HERE, CPU)
    return Session.start(build(arch), regime, data, CPU, 3, lambda: False, ranks=ranks)


def shared(team: Team, arch: Arch, regime: Regime) -> Session:
    session = started(arch, regime, team.join())
    team.introduce(session, arch.canonical, How(), 0, None)
    return session


def few_steps(**changes: Any) -> Regime:
    """Five steps an epoch."""
    train = {"epochs": 2, "batch": 1000, "precise_bn_images": 2000, **changes.pop("train", {})}
    return make_regime(train=train, **changes)


def assert_alike(ours: nn.Module, theirs: nn.Module) -> None:
    """Each tensor to CLOSE of its largest value, a millionth at least."""
    mine, others = ours.state_dict(), theirs.state_dict()
    assert mine.keys() == others.keys()
    for name, value in mine.items():
        off = (value - others[name]).abs().max()
        assert off <= CLOSE * others[name].abs().max() + 1e-6, name


def assert_same_epoch(ours: Epoch, theirs: Epoch) -> None:
    assert (ours.epoch, ours.lr) == (theirs.epoch, theirs.lr)
    assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-4)
    for name in ("train_error", "test_error", "test_error5"):  # at most four images fall otherwise
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=0.2), name


@pytest.mark.parametrize("arch", BLOCKS.values(), ids=BLOCKS)
def test_two_ranks_train_as_one_device(team, arch):
    recipe = {"ema": 0.9, "bn_weight_decay": False}
    regime = few_steps(augment={"crop": "random-resized"}, train=recipe)
    one, two = started(arch, regime), shared(team, arch, regime)
    assert_same_epoch(two.epoch(0), one.epoch(0))
    assert two.tested is not two.model
    assert_alike(two.model, one.model)
    assert_alike(two.tested, one.tested)
    probe = one.step.normalization(random_images(50).pixels)
    logits = [session.model.eval()(probe).detach() for session in (one, two)]
    assert (logits[0] - logits[1]).norm() < CLOSE * logits[0].norm()
    for network in (two.model, two.tested):
        assert nn.BatchNorm2d not in {type(module) for module in network.modules()}


def test_the_gradient_is_that_of_the_whole_batch(team):
    """As near to the gradient in float64 as one device comes, over all images and both ranks."""
    recipe = {"batch": 5000, "epochs": 1, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0,
              "lr": 1.0, "precise_bn_images": 0}  # fmt: skip
    regime = make_regime(train=recipe, augment={"crop": "pad", "pad": 2})
    arch = BLOCKS["groups"]
    one, two = started(arch, regime), shared(team, arch, regime)
    before = copy.deepcopy(one.model)
    exact = copy.deepcopy(one.model).double()
    images, labels = next(iter(one.training_batches("order", 0)))
    F.cross_entropy(exact(one.step.prepared(images).double()), labels).backward()
    for session in (one, two):
        session.epoch(0)

    def gradients(model: nn.Module) -> Tensor:
        pairs = zip(before.parameters(), model.parameters(), strict=True)
        return torch.cat([(old - new).detach().flatten() for old, new in pairs]).double()

    truth = torch.cat([parameter.grad.flatten() for parameter in exact.parameters()])
    errors = [float((gradients(s.model) - truth).norm() / truth.norm()) for s in (one, two)]
    assert errors[1] < max(3 * errors[0], 1e-6)


def test_bf16_and_smoothing_and_lighting_are_shared_too(team):
    """In bf16 a sum is known to 2 or 3 digits, however it is added up."""
    regime = few_steps(train={"precision": "bf16", "label_smoothing": 0.1, "epochs": 1})
    arch = BLOCKS["squeeze-excite"]
    one, two = started(arch, regime), shared(team, arch, regime)
    ours, theirs = two.epoch(0), one.epoch(0)
    assert ours.train_loss == pytest.approx(theirs.train_loss, rel=0.02)


def test_a_diverged_network_diverges_on_all_ranks_and_the_next_one_is_trained(team):
    arch = BLOCKS["groups"]
    with pytest.raises(Diverged):
        shared(team, arch, few_steps(train={"lr": 1e30})).epoch(0)
    regime = few_steps(train={"epochs": 1})
    assert_same_epoch(shared(team, arch, regime).epoch(0), started(arch, regime).epoch(0))


def test_checkpoints_go_from_two_ranks_to_one_and_back(team, tmp_path, said):
    """After the first epoch on the one, the second on the other; the twin saw one device only."""
    arch, regime = BLOCKS["squeeze-excite"], few_steps()
    twin = started(arch, regime)
    whole = list(twin.epochs())
    for first_on_two in (True, False):
        file = Checkpoint.of(tmp_path / str(first_on_two), "net", "regime", 3, said.say)
        first = shared(team, arch, regime) if first_on_two else started(arch, regime)
        file.save(first, [first.epoch(0)], at_once=True)
        kept = file.read()
        assert kept is not None
        second = started(arch, regime, ALONE if first_on_two else team.join())
        kept.put_into(second)
        if not first_on_two:
            team.introduce(second, arch.canonical, How(), 1, file)
        _, last = second.epochs(kept.epochs)
        assert_same_epoch(last, whole[1])
        assert_alike(second.model, twin.model)
        file.remove()
    assert not said.lines


def test_all_ranks_leave_at_the_same_step(team, monkeypatch):
    """Rank 0 alone is asked; the other one is at hand for the next network at once."""
    arch, regime = BLOCKS["groups"], few_steps(train={"batch": 50})
    asked = []
    monkeypatch.setattr("dsd.train.ddp.AGREE_S", 0.05)  # rank 0 sets the pace

    def stopped() -> bool:
        asked.append(True)
        return len(asked) > 2

    torch.manual_seed(3)
    session = Session.start(build(arch), regime, load(regime, HERE, CPU), CPU, 3, stopped,
                            ranks=team.join())  # fmt: skip
    team.introduce(session, arch.canonical, How(), 0, None)
    with pytest.raises(Stopped):
        session.epoch(0)
    assert len(asked) == 3
    short = few_steps(train={"epochs": 1})
    assert_same_epoch(shared(team, arch, short).epoch(0), started(arch, short).epoch(0))


@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 40))
def test_shares_are_a_batch_in_its_order(count, size, images):
    batch = torch.arange(images)
    parts = [Share(rank, count).of(batch) for rank in range(count)]
    assert torch.equal(torch.cat(parts), batch)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    whole = torch.arange(size * count)
    assert {Share(rank, count).whole(len(Share(rank, count).of(whole))) for rank in range(count)} \
        == {len(whole)}  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_test_images_are_each_seen_once_by_one_rank(size, count):
    images = random_images(65)
    whole = Dataset(images, images, "")
    parts = [Ranks(Share(rank, count)).part(whole).test for rank in range(count)]
    seen = torch.cat([labels for part in parts for _, labels in part.batches(size)])
    assert torch.equal(seen.sort().values, images.labels.sort().values)


def test_shares_of_image_folders_are_the_images_of_the_whole_batch(pictures):
    regime = make_regime("jpeg", dataset="imagenet", classes=2, stem={"inputs": 3, "width": 8},
                         augment={"mean": [0.5] * 3, "std": [0.2] * 3, "crop": "random-resized"},
                         )  # fmt: skip
    data = load(regime, pictures, CPU)
    parts = [Ranks(Share(rank, 2)).part(data) for rank in range(2)]
    for split, seed, size in (("train", 5, 4), ("test", None, 5)):
        whole = list(getattr(data, split).batches(size, seed))
        first, second = (list(getattr(part, split).batches(size, seed)) for part in parts)
        second += [(torch.empty(0, 3, 14, 14, dtype=torch.uint8), torch.empty(0).long())]
        for (images, labels), mine, other in zip(whole, first, second, strict=False):
            assert torch.equal(torch.cat((mine[0], other[0])), images)
            assert torch.equal(torch.cat((mine[1], other[1])), labels)
        assert len(first) == len(whole)


@pytest.mark.parametrize("crop", ["none", "pad", "random-resized"])
def test_every_rank_does_to_its_images_what_one_device_does(crop):
    changes = {"crop": crop, "lighting": 0.1, "mean": [0.5] * 3, "std": [0.2] * 3}
    regime = make_regime(stem={"inputs": 3, "width": 8}, augment=changes)
    images = random_images(24, channels=3).pixels

    def made(share: Share) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        mine = augmented(share.of(images), regime.augment, 14, generator, share)
        return Normalization.of(regime.augment, CPU)(mine, generator, share)

    for count in (2, 3, 8):
        parts = [made(Share(rank, count)) for rank in range(count)]
        torch.testing.assert_close(torch.cat(parts), made(WHOLE), rtol=1e-5, atol=1e-5)


def test_a_batch_that_cannot_be_split_says_what_could():
    regime = make_regime("odd", train={"batch": 12})
    for works in (1, 2, 3, 4, 6, 12):
        check_batch(regime, works)
    with pytest.raises(
        Indivisible, match=r"odd: a batch of 12 .* 5 ranks; 1, 2, 3, 4, 6, 12 would"
    ):
        check_batch(regime, 5)
    with pytest.raises(Indivisible, match="a batch of 9 images"):
        check_batch(regime, 4, images=9)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_synchronised_batch_norm_keeps_names_parameters_and_the_test(kind):
    model = build(small_arch(8, block="Y"))
    plain, parameters = copy.deepcopy(model).eval(), list(model.parameters())
    again = synced(model, torch.device(kind)).eval()
    assert all(a is b for a, b in zip(again.parameters(), parameters, strict=True))
    assert again.state_dict().keys() == plain.state_dict().keys()
    norms = [module for module in again.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert {type(norm) for norm in norms} == {OnCpu if kind == "cpu" else OnGpu}
    assert isinstance(norms[0], nn.SyncBatchNorm) == (kind == "cuda")
    images = torch.randn(4, 1, 14, 14)
    torch.testing.assert_close(again(images), plain(images))
    copy.deepcopy(again)


@pytest.mark.gpu
def test_two_gpus_train_as_one():
    """NCCL and torch's SyncBatchNorm, in a process of their own as this one has a gloo group."""
    if torch.cuda.device_count() < 2:
        pytest.skip(f"needs 2 CUDA devices, there are {torch.cuda.device_count()}")
    done = subprocess.run([sys.executable, "-m", "tests.train.two_gpus"], check=False, text=True,
                          capture_output=True, timeout=200)  # fmt: skip
    assert done.returncode == 0, done.stderr
