"""The loop: what it yields, what it repeats, what it refuses."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from dsd.net.build import build
from dsd.regime import Recipe
from dsd.train.data import Dataset, load
from dsd.train.evaluate import PreciseBN, Tally, evaluate
from dsd.train.images import Images
from dsd.train.loop import Diverged, Session, Stopped, train
from dsd.train.schedule import learning_rate
from dsd.train.seeds import run_seed
from tests.train.conftest import make_regime, random_images, small_arch

CPU = torch.device("cpu")


def trained(seed: int = 7, images: Dataset | None = None, **changes):
    """A small network after its training, and the epochs without their timings."""
    regime = make_regime(**changes)
    torch.manual_seed(seed)
    model = build(small_arch())
    data = images or Dataset(random_images(400), random_images(100), "")
    untimed = {"seconds": 0, "images_per_s": 0, "peak_memory": 0}
    epochs = [dataclasses.replace(e, **untimed) for e in train(model, regime, data, CPU, seed)]
    return model, epochs


def test_real_images_are_learnt(cpu, tmp_path):
    regime = make_regime(train={"epochs": 2, "precise_bn_images": 512})
    torch.manual_seed(0)
    epochs = list(train(build(small_arch(16)), regime, load(regime, tmp_path, cpu), cpu, 0))
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    assert epochs[-1].test_error < 45  # chance is 90
    assert epochs[-1].test_error5 < epochs[-1].test_error / 3
    assert epochs[1].train_loss < epochs[0].train_loss
    assert all(e.seconds > 0 and e.images_per_s > 100 and e.peak_memory > 1e6 for e in epochs)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train": {"precision": "bf16", "precise_bn_images": 128}},
        {"augment": {"crop": "pad"}},
        {"augment": {"crop": "random-resized"}, "train": {"label_smoothing": 0.1, "ema": 0.9}},
    ],
)
def test_the_same_seed_gives_the_same_numbers_to_the_bit(changes):
    first, epochs = trained(**changes)
    torch.rand(3)  # other random numbers drawn in between change nothing
    second, again = trained(**changes)
    assert epochs == again
    for ours, theirs in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert trained(seed=8, **changes)[1] != epochs


def test_the_recipe_changes_what_is_learnt():
    outcomes = [trained()[1]]
    for recipe in (
        {"label_smoothing": 0.1}, {"weight_decay": 0.1}, {"momentum": 0.5}, {"nesterov": False},
        {"lr": 0.01}, {"warmup_epochs": 1.0}, {"schedule": "cosine-step"}, {"precision": "bf16"},
        {"precise_bn_images": 256}, {"ema": 0.9},
    ):  # fmt: skip
        outcomes.append(trained(train=recipe)[1])
    assert all(a != b for i, a in enumerate(outcomes) for b in outcomes[:i])


def test_rates_are_half_a_cosine_after_a_warm_up():
    recipe = Recipe(epochs=10, lr=0.4)
    assert learning_rate(recipe, 0) == 0.4
    assert learning_rate(recipe, 5.9) == pytest.approx(0.2)
    stepwise = dataclasses.replace(recipe, schedule="cosine-step")
    assert learning_rate(stepwise, 2.5) == pytest.approx(0.2 * (1 + math.cos(math.pi / 4)))
    assert learning_rate(stepwise, 10) == pytest.approx(0)
    warm = dataclasses.replace(recipe, warmup_epochs=5.0)
    assert learning_rate(warm, 0) == pytest.approx(0.04)
    assert learning_rate(warm, 2) == pytest.approx(learning_rate(recipe, 2) * (0.1 + 0.9 * 0.4))
    assert learning_rate(warm, 5) == learning_rate(recipe, 5)


def test_the_rate_of_every_epoch_reaches_the_optimiser():
    rates = [epoch.lr for epoch in trained(train={"epochs": 3})[1]]
    assert rates == pytest.approx([0.1 * (1 + math.cos(math.pi * e / 3)) / 2 for e in range(3)])


def test_errors_are_counted_as_torch_counts_them():
    logits = torch.randn(300, 10, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(300) % 10
    batches = zip(logits.split(128), labels.split(128), strict=True)
    model, tally = nn.Dropout(), Tally.on(CPU)
    loss, error, error5 = evaluate(model, tally.scored(lambda x: x), batches, tally).means()
    assert not model.training
    assert loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    right = [labels[:, None] == logits.argsort(1, descending=True)[:, :k] for k in (1, 5)]
    wrong = [100 * (1 - part.any(1).float().mean().item()) for part in right]
    assert (error, error5) == pytest.approx(wrong, rel=1e-5)


def test_fewer_than_five_classes_have_no_fifth_guess():
    batches = [(torch.eye(3), torch.tensor([0, 1, 0]))]
    tally = Tally.on(CPU)
    found = evaluate(nn.Identity(), tally.scored(lambda x: x), batches, tally)
    loss, error, error5 = found.means()
    assert error == pytest.approx(100 / 3)
    assert error5 == 0
    assert math.isfinite(loss)


def test_precise_bn_is_the_plain_average_over_batches():
    norm = nn.BatchNorm2d(3)
    norm.running_mean += 100
    batches = [torch.randn(16, 3, 4, 4) * i + i for i in range(1, 5)]
    precise = PreciseBN(norm)
    precise.settle(precise.scored(norm), ((batch, batch) for batch in batches))
    means = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    variances = torch.stack([b.transpose(0, 1).flatten(1).var(1) for b in batches]).mean(0)
    assert torch.allclose(norm.running_mean, means, rtol=1e-5, atol=1e-5)
    assert torch.allclose(norm.running_var, variances, rtol=1e-5)
    assert norm.momentum == 0.1


def test_a_loss_that_is_not_finite_is_a_divergence():
    data = Dataset(random_images(256), random_images(64), "")
    torch.manual_seed(0)
    run = train(build(small_arch()), make_regime(train={"lr": 1e30}), data, CPU, 0)
    with pytest.raises(Diverged, match=r"loss is (nan|inf)"):
        list(run)


def test_weights_that_break_in_the_last_step_are_a_divergence_too():
    model = nn.Sequential(nn.Flatten(), nn.Linear(196, 10))
    data = Dataset(random_images(64), random_images(64), "")
    run = train(model, make_regime(train={"lr": 1e300}), data, CPU, 0)
    with pytest.raises(Diverged, match="test loss"):
        list(run)


def test_training_stops_in_mid_epoch_when_asked():
    asked = iter([False, False, True])
    data = Dataset(random_images(640), random_images(64), "")
    run = train(build(small_arch()), make_regime(), data, CPU, 0, lambda: next(asked))
    with pytest.raises(Stopped):
        next(run)


def test_a_training_set_smaller_than_a_batch_is_one_batch():
    images = random_images(20)
    epochs = trained(images=Dataset(images, images, ""))[1]
    assert all(math.isfinite(epoch.train_loss) for epoch in epochs)


def test_augmentation_is_drawn_anew_every_epoch():
    data = Dataset(random_images(64), random_images(64), "")
    regime = make_regime(augment={"crop": "pad"})
    session = Session.start(build(small_arch()), regime, data, CPU, 0, lambda: False)
    first, again, later = (
        torch.cat(
            [
                session.step.prepared(x).sum((1, 2, 3))
                for x, _ in session.training_batches("order", epoch)
            ]
        )
        for epoch in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first.sort().values, later.sort().values)


def test_every_run_has_a_seed_of_its_own():
    seeds = {run_seed(s, n, r) for s in (0, 1) for n in ("aa", "ab") for r in ("x", "y")}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert run_seed(0, "aa", "x") == run_seed(0, "aa", "x")
    assert isinstance(random_images(3), Images)
