"""The average of the weights: what it is, that it is tested, kept and taken up again."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dsd.net.build import build
from dsd.store.results import frame
from dsd.store.runs import one_run
from dsd.train.average import Average
from dsd.train.data import Dataset, load
from dsd.train.evaluate import Tally, evaluate
from dsd.train.loop import Session
from dsd.train.weights import Keep, trained
from dsd.train.worker import work
from tests.train.conftest import fill, make_regime, random_images, small_arch

CPU = torch.device("cpu")
IMAGES = Dataset(random_images(320), random_images(100), "")


def session(**recipe: Any) -> Session:
    torch.manual_seed(1)
    regime = make_regime(train=recipe)
    return Session.start(build(small_arch()), regime, IMAGES, CPU, 3, lambda: False)


def state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all that is averaged, in double precision."""
    held = model.state_dict().items()
    return {k: v.detach().double().clone() for k, v in held if v.is_floating_point()}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_it_is_the_plain_recursion_over_the_steps(decay: float, monkeypatch) -> None:
    one = session(ema=decay)
    assert one.step.average is not None
    expected = state(one.model)
    step = one.optimizer.step

    def followed() -> None:
        nonlocal expected
        step()
        after = state(one.model)
        expected = {k: decay * v + (1 - decay) * after[k] for k, v in expected.items()}

    monkeypatch.setattr(one.optimizer, "step", followed)
    one.train_pass(0)
    one.train_pass(1)
    assert any("running_mean" in name for name in expected)
    assert_close(state(one.tested), expected)
    assert one.tested is one.step.average.network is not one.model


def test_it_changes_nothing_of_the_training_and_is_what_is_tested() -> None:
    plain, averaged = session(), session(ema=0.99)
    assert plain.step.average is None
    assert plain.tested is plain.model
    without, with_it = plain.epoch(0), averaged.epoch(0)
    assert (without.train_loss, without.train_error) == (with_it.train_loss, with_it.train_error)
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, averaged.model.state_dict()[name]), name
    assert without.test_error != with_it.test_error
    batches = ((averaged.step.normalization(x), y) for x, y in IMAGES.test.batches(100))
    tally = Tally.on(CPU)
    found = evaluate(averaged.tested, tally.scored(averaged.tested), batches, tally).means()[1]
    assert found == with_it.test_error


def test_precise_bn_is_that_of_the_averaged_network() -> None:
    one = session(ema=0.9, precise_bn_images=64)
    one.train_pass(0)
    live, mean = state(one.model), copy.deepcopy(one.tested)
    one.test_pass(0)
    assert_close(state(one.model), live)
    images = next(one.training_batches("precise-bn", 0))[0]
    mean.train()
    for module in mean.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        mean(one.step.prepared(images))
    assert_close(state(one.tested), state(mean))


def test_in_epochs_of_warm_up_it_is_the_network_itself() -> None:
    one = session(ema=0.9, warmup_epochs=1.0)
    one.epoch(0)
    assert_close(state(one.tested), state(one.model))
    one.epoch(1)
    assert not torch.equal(next(one.tested.parameters()), next(one.model.parameters()))


def test_its_tensors_stay_where_they_are_and_learn_nothing_by_themselves() -> None:
    model = build(small_arch()).to(memory_format=torch.channels_last)
    average = Average.of(model, 0.5)
    assert average is not None
    places = [tensor.data_ptr() for tensor in average.mine]
    average.step()
    average.restart()
    assert [tensor.data_ptr() for tensor in average.mine] == places
    assert [t.stride() for t in average.mine] == [t.stride() for t in average.theirs]
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_kept_weights_are_those_that_were_tested(store, tmp_path: Path) -> None:
    regime = make_regime(
        "ema", train={"epochs": 1, "batch": 500, "ema": 0.8, "precise_bn_images": 1000}
    )
    fill(store, [small_arch()], regime)
    keep = Keep(tmp_path / "kept", every=True)
    assert work(store, folder=tmp_path, device=CPU, exit_when_empty=True, keep=keep,
                hear=lambda event: None) == 1  # fmt: skip
    run = one_run(store, int(frame(store)["run"][0]))
    module = trained(run, None).module()
    mean, std = regime.augment.mean[0], regime.augment.std[0]
    batches = (
        ((images.float() / 255 - mean) / std, labels)
        for images, labels in load(regime, tmp_path, CPU).test.batches(200)
    )
    tally = Tally.on(CPU)
    found = evaluate(module, tally.scored(module), batches, tally).means()[1]
    assert found == pytest.approx(run["error_last"])
