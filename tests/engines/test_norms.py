"""Norms whose statistics are not those of what passes them are given these, and the network answers as before."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engines.norms import settle


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4)]
    for norm in (layers[1], layers[4]):
        assert isinstance(norm, nn.BatchNorm2d)
        for value, low, high in ((norm.weight, 0.5, 2.0), (norm.bias, -1.0, 1.0)):
            nn.init.uniform_(value, low, high)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        nn.init.uniform_(norm.running_mean, -3.0, 3.0)
        nn.init.uniform_(norm.running_var, 0.1, 5.0)
    return nn.Sequential(*layers).eval()


def norms(whole: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in whole.modules() if isinstance(module, nn.BatchNorm2d)]


@torch.no_grad()
def test_it_answers_as_before_and_in_train_mode_too() -> None:
    whole, x = network(), torch.rand(8, 3, 12, 12) * 2 + 1
    before, apart = whole(x), (whole.train()(x) - whole.eval()(x)).abs().max()
    assert apart > 0.3, "with statistics of something else train mode is another network"
    whole = network()
    settle(norms(whole), lambda: whole(x))
    torch.testing.assert_close(whole(x), before, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(whole.train()(x), before, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_other_pictures_are_answered_as_before() -> None:
    whole, other = network(), torch.rand(4, 3, 12, 12)
    before = whole(other)
    settle(norms(whole), lambda: whole(torch.rand(8, 3, 12, 12) + 2))
    torch.testing.assert_close(whole(other), before, atol=1e-5, rtol=1e-5)


def test_no_hook_stays_behind_where_the_network_fails() -> None:
    whole = network()
    with pytest.raises(RuntimeError):
        settle(norms(whole), lambda: whole(torch.rand(1, 5, 12, 12)))
    assert not any(norm._forward_pre_hooks for norm in norms(whole))
