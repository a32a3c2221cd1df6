"""Stochastic gradient descent as a recipe says it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dsd.regime import Regime

FUSED = ("cpu", "cuda")  # devices on which one kernel steps all parameters


def sgd(model: nn.Module, regime: Regime, rate: Tensor | None = None) -> torch.optim.Optimizer:
    """One kernel for all parameters where the device has it (5% of a step on the CPU).

    With a `rate` on the device the learning rate is read from there, as a recorded step must.
    """
    recipe = regime.train
    fused = all(parameter.device.type in FUSED for parameter in model.parameters())
    return torch.optim.SGD(
        groups(model, regime), recipe.lr if rate is None else rate, recipe.momentum,
        nesterov=recipe.nesterov, weight_decay=recipe.weight_decay, fused=fused or None,
    )  # fmt: skip


def groups(model: nn.Module, regime: Regime) -> list[dict[str, Any]]:
    """All parameters in the model's order, or those of batch norm apart, without weight decay.

    Without `bn_weight_decay` the scale and shift of batch norm alone have none, as under pycls'
    BN.USE_CUSTOM_WEIGHT_DECAY with its default of 0; the biases of the classifier and of SE keep
    theirs. Checkpoints number the parameters in this order.
    """
    if regime.train.bn_weight_decay:
        return [{"params": list(model.parameters())}]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    apart = [parameter for norm in norms for parameter in norm.parameters()]
    others = {id(parameter) for parameter in apart}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in others]
    return [{"params": rest}, {"params": apart, "weight_decay": 0.0}]
