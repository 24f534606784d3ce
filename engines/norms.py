"""Statistics of batch norms, which an exporter folds away: without them a network can be used, and not trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def settle(norms: Iterable[nn.BatchNorm2d], forward: Callable[[], object]) -> None:
    """Give each norm the statistics of what passes it in `forward`, and weights with which it answers as before.

    In eval mode nothing changes. In train mode a norm with others' statistics would give another network: one whose
    norms were folded into its convolutions has none of its own.
    """
    seen: dict[nn.BatchNorm2d, Tensor] = {}

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        seen[module] = inputs[0]

    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    try:
        with torch.no_grad():
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    for norm, x in seen.items():
        _move(norm, x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False))


@torch.no_grad()
def _move(norm: nn.BatchNorm2d, mean: Tensor, var: Tensor) -> None:
    """From the norm's statistics to these; its weights make up for it."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.weight.div_((norm.running_var + norm.eps).sqrt())
    norm.bias.add_(norm.weight * (mean - norm.running_mean))
    norm.weight.mul_((var + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
