"""What the surrogates' adversarial losses are, term by term: who is called real, and what the generator gains by it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.generators import train_cyclegan as cyclegan
from engines.generators import train_ganimation as ganimation
from engines.generators import train_stargan as stargan
from engines.generators.ganimation import compose
from tests.support.targets import SMALL

CPU = torch.device("cpu")


class Slope(nn.Module):
    """A critic that is `slope` times the sum of a picture, and calls every unit `units`."""

    def __init__(self, slope: float, units: float = 0.0) -> None:
        super().__init__()
        self.slope, self.units = nn.Parameter(torch.tensor(slope)), units

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.slope * x.sum((1, 2, 3)), torch.full((len(x), 17), self.units) + 0 * self.slope


def pictures(*sums: float) -> Tensor:
    """(N, 3, 4, 4) with these sums."""
    return (torch.tensor(sums) / 48)[:, None, None, None].expand(-1, 3, 4, 4).clone()


def stargan_trainer(data: Any) -> stargan.StarGANTrainer:
    return stargan.StarGANTrainer(stargan.Settings(conv_dim=4, size=64, batch=2, adversary_dim=4), data, CPU)


def test_stargans_critic_has_a_hinge_and_now_and_then_r1(packed) -> None:
    made = stargan_trainer(packed[0])
    for number, penalty in ((1, 0.0), (8, 8 * 0.5 * 0.5**2 * 48)):
        made.d = Slope(0.5)  # reals at 0.5 and 2, fakes at -0.25 and 1
        loss = made._discriminate(pictures(1.0, 4.0), pictures(-0.5, 2.0), number)
        assert loss == pytest.approx((0.5 + 0.0) / 2 + (0.75 + 2.0) / 2 + penalty, rel=1e-5)


def test_stargans_generator_is_rewarded_for_what_its_critic_calls_real(packed) -> None:
    made = stargan_trainer(packed[0])
    made.s = dataclasses.replace(made.s, adversarial=1e4)  # well above what rounding makes of the other term
    made.opt_g.param_groups[0]["lr"] = made.opt_d.param_groups[0]["lr"] = 0.0
    batch = made.batch()
    made.batch = lambda: batch
    gradients = []
    for adversarial in (False, True):
        made.step(1, adversarial)
        gradients.append(made.g.get_parameter("main.0.weight").grad.clone())
    x, _, c = batch
    realness = made.d(made.g(x, c))[0].mean()
    (expected,) = torch.autograd.grad(-1e4 * realness, made.g.get_parameter("main.0.weight"))
    assert torch.allclose(gradients[1] - gradients[0], expected, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("wgan", [False, True])
def test_ganimations_critic_learns_realness_and_the_photographs_units(faces, wgan: bool) -> None:
    settings = dataclasses.replace(SMALL["ganimation"], wgan=wgan)
    made = ganimation.GANimationTrainer(settings, faces, CPU)
    made.g = lambda x, c: pictures(-0.5, 2.0)
    own, asked = torch.full((2, 17), 0.3), torch.full((2, 17), 0.9)
    made.d = Slope(0.5, units=0.1)
    loss = made._discriminate(pictures(1.0, 4.0), own, asked, 1)
    units = settings.units * 0.2**2
    hinge = (0.5 + 0.0) / 2 + (0.75 + 2.0) / 2
    published = (-0.25 + 1.0) / 2 - (0.5 + 2.0) / 2 + 10 * (0.5 * 48**0.5 - 1) ** 2
    assert loss == pytest.approx(units + (published if wgan else hinge), rel=1e-4)


def test_ganimations_generator_is_held_to_realness_units_and_the_way_back(faces) -> None:
    made = ganimation.GANimationTrainer(SMALL["ganimation"], faces, CPU)
    x, _, c, own = made.batch()
    fake = made.g(x, c)
    with torch.no_grad():
        loss = made._unpaired(x, fake, own, c)
        real, units = made.d(fake)
        attention, colour = made.g.masks(fake, own)
        back = compose(fake, attention, colour)
        wanted = -real.mean() + made.s.units * F.mse_loss(units, c) + made.s.cycle * F.l1_loss(back, x)
        wanted = wanted + made.s.saturation * attention.mean()
        wanted = wanted + made.s.smooth * ganimation.total_variation(attention)
    assert not torch.equal(c, own)
    assert torch.allclose(loss, wanted, rtol=1e-5)


def test_cyclegans_losses_are_the_published_ones_of_the_right_domains(faces, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator answers to the critic of the domain that it paints, which knows the real ones of that domain."""
    made = cyclegan.CycleGANTrainer(SMALL["cyclegan"], faces, CPU)
    a, b = made.photographs(0, 1)[0], made.photographs(1, 1)[1]
    asked: list[int] = []

    def photographs(half: int, n: int) -> tuple[Tensor, Tensor]:
        asked.append(half)
        return (a, torch.full_like(a, torch.nan)) if half == 0 else (torch.full_like(b, torch.nan), b)

    losses: list[Tensor] = []
    monkeypatch.setattr(made, "photographs", photographs)
    monkeypatch.setattr(made, "_descend", lambda optimiser, loss: losses.append(loss.detach()))
    made.unpaired()
    assert asked == [0, 1]
    with torch.no_grad():
        fake_b, fake_a = made.g_a(a), made.g_b(b)
        adversarial = (made.d_b(fake_b) - 1).square().mean() + (made.d_a(fake_a) - 1).square().mean()
        cycle = F.l1_loss(made.g_b(fake_b), a) + F.l1_loss(made.g_a(fake_a), b)
        same = F.l1_loss(made.g_a(b), b) + F.l1_loss(made.g_b(a), a)
        critics = sum(
            ((critic(real) - 1).square().mean() + critic(fake).square().mean()) / 2
            for critic, real, fake in ((made.d_b, b, fake_b), (made.d_a, a, fake_a))
        )
    assert losses[0] == pytest.approx(float(adversarial + made.s.cycle * (cycle + made.s.identity * same)), rel=1e-4)
    assert losses[1] == pytest.approx(float(critics), rel=1e-4)
