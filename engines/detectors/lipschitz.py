"""Lipschitz regularisation (fooling_detectors, eq. 7, after Woods et al. 2019), exact: every class, every input.

J + lambda / (C N) sum_i ||grad_x Z_i(x)||^2, x on [0, 1], N its values, C the classes. With ReLU the penalty's own
gradient ignores that activations switch; the paper's networks therefore have the half-Huber ReLU of Woods et al.
A difference: in their code and the paper's it bends on [0, 1/2] (x^2 there), here on [0, 1] (x^2 / 2), with which the
networks of the tables were trained. Batch norm uses its running statistics here: in training mode one image's logits
depend on the whole batch, so that the gradient would be of another function than the one that is deployed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

LAMBDAS = (5.0, 50.0, 500.0, 5000.0)
"""The paper's."""


class HalfHuber(nn.Module):
    """0 below 0, x^2 / 2 up to 1, x - 1/2 beyond: a ReLU with a continuous slope."""

    def forward(self, x: Tensor) -> Tensor:
        slope = x.clamp(0, 1)
        return slope * (x - slope / 2)


def smooth(network: nn.Module) -> nn.Module:
    """The network with every `nn.ReLU` replaced by HalfHuber, in place; no weights are added or renamed."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, HalfHuber())
    return network


def penalty(model: nn.Module, image: Tensor) -> Tensor:
    """(N,): sum_i ||grad_x Z_i||^2 / (C N) of each image (N, 3, H, W) in [-1, 1], to be multiplied by lambda."""
    with frozen(model):
        inner = image.detach().requires_grad_(True)
        logits = model(inner)
        grads = [torch.autograd.grad(one.sum(), inner, create_graph=True)[0] for one in logits.unbind(1)]
    # On [0, 1] a step is half as large, so that the slope is twice as steep.
    squared = torch.stack([(2 * grad).square().flatten(1).sum(1) for grad in grads]).sum(0)
    return squared / (logits.shape[1] * image[0].numel())


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Batch norm by running statistics and no dropout inside; the mode before comes back."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)
