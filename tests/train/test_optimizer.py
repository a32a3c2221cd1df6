"""What one step of SGD does to each parameter, and how the parameters are grouped."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from dsd.net.build import build
from dsd.train.data import Dataset
from dsd.train.loop import train
from dsd.train.optimizer import groups, sgd
from dsd.train.seeds import derive
from tests.train.conftest import make_regime, random_images, small_arch

CPU = torch.device("cpu")
DECAY, RATE = 0.25, 0.1


@pytest.mark.parametrize("on_norms", [True, False])
def test_one_step_is_pycls_sgd_with_weight_decay_where_the_recipe_says(on_norms: bool) -> None:
    recipe = {"epochs": 1, "batch": 32, "weight_decay": DECAY, "lr": RATE}
    regime = make_regime(train={**recipe, "bn_weight_decay": on_norms}, augment={"flip": False})
    images = random_images(32)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1),
                          nn.Flatten(), nn.Linear(4, 10))  # fmt: skip
    with torch.no_grad():  # a shift of 0 would show no decay
        model[1].bias.copy_(torch.linspace(-1, 1, 4))
    before = {name: value.clone() for name, value in model.named_parameters()}
    pixels, labels = next(images.batches(32, derive("order", 5, 0)))
    nn.functional.cross_entropy(model((pixels.float() / 255 - 0.286) / 0.353), labels).backward()
    grads = {name: value.grad.clone() for name, value in model.named_parameters()}
    next(train(model, regime, Dataset(images, images, ""), CPU, 5))
    for name, value in model.named_parameters():
        decay = DECAY if on_norms or not name.startswith("1.") else 0.0
        gradient = grads[name] + decay * before[name]
        expected = before[name] - RATE * (1 + 0.9) * gradient  # Nesterov's first step
        assert torch.allclose(value, expected, atol=1e-5), name


def test_with_decay_on_all_there_is_one_group_in_the_models_order() -> None:
    model = build(replace(small_arch(), block="Y"))
    (group,) = sgd(model, make_regime()).param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
    assert group["fused"] is True


def test_without_it_batch_norms_parameters_alone_stand_apart() -> None:
    model = build(replace(small_arch(), block="Y"))
    names = {id(value): name for name, value in model.named_parameters()}
    norms = {
        f"{name}.{part}"
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for part in ("weight", "bias")
    }
    optimizer = sgd(model, make_regime(train={"bn_weight_decay": False, "weight_decay": DECAY}))
    rest, apart = ([names[id(p)] for p in group["params"]] for group in optimizer.param_groups)
    assert set(apart) == norms
    assert sorted(rest + apart) == sorted(names.values())
    assert any(name.endswith("bias") for name in rest), "the classifier's and SE's biases decay"
    assert [group["weight_decay"] for group in optimizer.param_groups] == [DECAY, 0.0]
    assert all(group["fused"] is True for group in optimizer.param_groups)


def test_where_no_fused_kernel_is_known_torch_chooses() -> None:
    model = build(small_arch()).to("meta")
    assert not sgd(model, make_regime()).param_groups[0]["fused"]
    assert len(groups(model, make_regime())) == 1
