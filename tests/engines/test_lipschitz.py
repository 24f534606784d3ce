"""Eq. 7: exact for every class and input, smooth where it must be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engines.detectors.architectures import architecture
from engines.detectors.lipschitz import LAMBDAS, HalfHuber, penalty, smooth


class Quadratic(nn.Module):
    """Z_i = w_i . x + (x . x) / 2, whose gradient is w_i + x."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = x.square().sum((1, 2, 3), keepdim=False)[:, None] / 2
        return torch.einsum("nchw,kchw->nk", x, self.weight) + half


def images(n: int, size: int) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_it_is_the_mean_square_of_every_logits_gradient_on_0_to_1() -> None:
    model, x = Quadratic(), images(5, 4)
    slopes = 2 * (model.weight[None] + x[:, None])  # on [0, 1] a step is half as large
    expected = slopes.square().flatten(2).sum(2).sum(1) / (2 * 48)
    torch.testing.assert_close(penalty(model, x), expected)


def test_it_can_be_trained_down() -> None:
    model, x = Quadratic(), images(5, 4)
    before = penalty(model, x).mean()
    (grad,) = torch.autograd.grad(before, model.weight)
    assert grad.abs().max() > 0
    with torch.no_grad():
        model.weight -= 0.5 * grad
    assert penalty(model, x).mean() < before


def test_an_images_penalty_does_not_depend_on_its_batch() -> None:
    torch.manual_seed(0)
    detector = smooth(architecture("resnet18").detector(0.0625, 32)).train()
    x = images(4, 32)
    torch.testing.assert_close(penalty(detector, x)[2:3], penalty(detector, x[2:3]), rtol=1e-3, atol=1e-6)
    assert detector.training


def test_smoothing_keeps_the_weights_names_and_leaves_no_kink() -> None:
    plain, bent = (architecture("resnet18").detector(0.0625, 32) for _ in range(2))
    smooth(bent)
    assert list(plain.state_dict()) == list(bent.state_dict())
    assert not any(isinstance(module, nn.ReLU) for module in bent.modules())
    assert sum(isinstance(module, HalfHuber) for module in bent.modules()) == 9


def test_the_half_huber_relu_and_its_slope() -> None:
    x = torch.tensor([-2.0, 0.0, 0.5, 1.0, 3.0], requires_grad=True)
    y = HalfHuber()(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert y.tolist() == pytest.approx([0, 0, 0.125, 0.5, 2.5])
    assert slope.tolist() == pytest.approx([0, 0, 0.5, 1, 1])


def test_the_papers_strengths() -> None:
    assert LAMBDAS == (5, 50, 500, 5000)
