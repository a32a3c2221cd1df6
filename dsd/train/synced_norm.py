"""Batch norm over the batch of all ranks: torch's own on a GPU, and the same for the CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class OnGpu(nn.SyncBatchNorm, nn.BatchNorm2d):
    """torch's, and a BatchNorm2d to whoever looks for batch norms in a network."""


class OnCpu(nn.BatchNorm2d):
    """What torch's SyncBatchNorm is, which takes no tensors on the CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w), n images of this rank's share."""
        if not self.training:
            return super().forward(input)
        normalised: Tensor
        normalised, mean, variance, count = _Normalized.apply(
            input, self.weight, self.bias, self.eps
        )
        with torch.no_grad():
            self._follow(mean, variance * count / (count - 1))
        return normalised

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as BatchNorm2d does."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def synced(model: nn.Module, device: torch.device) -> nn.Module:
    """The model, in place, with batch norm whose statistics are those of all ranks' images."""
    for name, child in model.named_children():
        alike = _like(child, device) if type(child) is nn.BatchNorm2d else synced(child, device)
        setattr(model, name, alike)
    return model


def _like(norm: nn.BatchNorm2d, device: torch.device) -> nn.Module:
    """A synchronised twin, its parameters and buffers not copied but shared."""
    kind = OnGpu if device.type == "cuda" else OnCpu
    twin = kind(norm.num_features, norm.eps, norm.momentum, device="meta")
    for name, parameter in norm.named_parameters():
        twin.register_parameter(name, parameter)
    for name, buffer in norm.named_buffers():
        twin.register_buffer(name, buffer)
    return twin.train(norm.training)


class _Normalized(torch.autograd.Function):
    """Batch norm by the statistics of all ranks, whose gradients flow through all ranks, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Any:
        """The normalised x, and mean, variance (biased) and count of all ranks' values."""
        mean, variance, count = _statistics(x)
        out = F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        ctx.count = count
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance, count

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *others: Any) -> Any:
        """Gradients of the sum of all ranks' losses; the parameters' are this rank's part of it."""
        x, weight, mean, scale = ctx.saved_tensors
        wide = grad.float()
        # Of x - mean: sums that cancel are not left to the end.
        centred = x.float() - _channels(mean)
        sums = torch.stack((wide.sum((0, 2, 3)), (wide * centred).sum((0, 2, 3))))
        mine = sums.clone()
        dist.all_reduce(sums)
        plain, along = sums / ctx.count
        slope = along * scale * scale
        moved = wide - _channels(plain) - centred * _channels(slope)
        grad_x = moved * _channels(weight * scale)
        return grad_x.to(x.dtype), mine[1] * scale, mine[0], None


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance (c,) over all ranks' values, and how many a channel has."""
    wide = x.float()
    variance, mean = torch.var_mean(wide, (0, 2, 3), correction=0)
    values = x.numel() // x.shape[1]
    mine = torch.cat((mean, variance, mean.new_tensor([values]))).double()
    every = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(every, mine)
    table = torch.stack(every)
    counts = table[:, -1:]
    means, variances = table[:, :-1].chunk(2, 1)
    total = counts.sum()
    if total == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got {x.shape}")
    mean = (counts * means).sum(0) / total
    # Chan, Golub and LeVeque 1983, eq. 2.1b: no difference of large squares.
    squares = counts * (variances + (means - mean) ** 2)
    return mean.to(wide.dtype), (squares.sum(0) / total).to(wide.dtype), int(total)


def _channels(values: Tensor) -> Tensor:
    return values[None, :, None, None]
