"""Eq. 7 on toy networks: each term pulls the right way, and the trainer's gradient is that of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from engines.data import pack
from engines.data.clips import Clip
from engines.data.heads import HEAD_SHARE, crop_theta
from engines.disrupter import delivery, objective, train
from engines.disrupter.budget import head_rms, rms_of_psnr
from engines.disrupter.train import DisrupterTrainer, Settings
from engines.generators.target import Target
from engines.settings import with_changes
from engines.training import Run
from stream_guard.errors import UsageError
from tests.support.targets import Brightness, amplifier, trainer


class Copy(nn.Module):
    def forward(self, x, c):
        return x


def test_frames_of_clips_are_heads_too(packed, monkeypatch):
    """With a share of 1 every head of a batch is a frame of a clip, here a gray one; with 0 none is."""
    gray = Clip("a", "train", np.full((4, 32, 32, 3), 128, np.uint8), np.full((4, 66, 2), np.nan, np.float32))
    monkeypatch.setattr(train, "read_clips", lambda path, splits: [gray])
    filmed, still = (trainer(packed[0], clips=share).batch() for share in (1.0, 0.0))
    assert filmed.std((1, 2, 3)).max() < 1e-3 < still.std((1, 2, 3)).min()


def test_clips_that_are_not_there_and_shares_that_are_no_numbers_are_refused(packed):
    with pytest.raises(UsageError, match="holds no clips"):
        trainer(packed[0], clips=0.5)
    with pytest.raises(UsageError, match="numbers with commas"):
        trainer(packed[0], shares="a,b")


def test_a_disrupter_may_be_trained_on_one_condition_alone(packed):
    """Table 7's: the generator is asked for no other, and its edit is the same network's."""
    (narrow,) = trainer(packed[0], conditions="some").targets
    rng = torch.Generator().manual_seed(0)
    assert narrow.condition_names == ["some"]
    assert narrow.sample(8, rng).unique().tolist() == pytest.approx([0.2])
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(narrow(image, narrow.conditions), amplifier()(image, torch.tensor([[0.2]])))
    with pytest.raises(UsageError, match="no condition 'smile'; it has none, some"):
        trainer(packed[0], conditions="some,smile")


def falls(loss, at):
    """The value at `at` after a small step down the loss's gradient there."""
    (gradient,) = torch.autograd.grad(loss(at), at)
    return at.detach() - 1e-3 * gradient / gradient.norm()


@pytest.mark.parametrize("log", [True, False])
def test_the_distance_is_raised(log):
    distance = torch.tensor([0.01, 0.04], requires_grad=True)
    assert (falls(lambda d: -objective.gain(d, log), distance) > distance).all()


def test_the_logarithm_pulls_the_far_pair_harder_and_enough_is_enough():
    distance = torch.tensor([0.001, 0.04, 0.3], requires_grad=True)
    (gradient,) = torch.autograd.grad(objective.gain(distance, True, enough=0.1), distance)
    assert gradient[0] > 5 * gradient[1] > 0
    assert gradient[2] == 0


def test_the_norm_is_a_hinge():
    rms = torch.tensor([0.02, 0.005], requires_grad=True)
    (gradient,) = torch.autograd.grad(objective.excess(rms, 0.01), rms)
    assert gradient[0] > 0
    assert gradient[1] == 0
    assert objective.excess(rms.detach(), 0.01) == pytest.approx(0.5)


@pytest.mark.parametrize("log", [True, False])
def test_the_detectors_pull_edits_to_fake_and_faces_to_real(log):
    """To this detector fake is dark and real is bright."""
    image = torch.zeros(2, 3, 8, 8, requires_grad=True)
    darker = falls(lambda x: objective.called_real([Brightness()], x, log), image)
    brighter = falls(lambda x: objective.called_fake([Brightness()], x, log), image)
    assert darker.mean() < 0 < brighter.mean()


def test_without_the_logarithm_the_detectors_give_equations_5_and_6():
    image = torch.full((2, 3, 8, 8), 0.3)
    p_real = torch.sigmoid(torch.tensor(4 * 0.3))
    assert objective.called_real([Brightness(), Brightness()], image, log=False) == pytest.approx(float(p_real))
    assert objective.called_fake([Brightness()], image, log=False) == pytest.approx(float(1 - p_real))


@pytest.mark.parametrize(("changes", "way"), [({"c2": 1e3}, -1), ({"c3": 1e3}, 1)])
def test_the_trainer_gives_each_detector_term_its_sign(packed, changes, way):
    """A generator that copies: C2 alone darkens what it gets, C3 alone brightens it."""
    copy = Target(Copy(), "toy", torch.zeros(1, 1), ["none"], 64)
    made = trainer(packed[0], {"copy": copy}, {"bright": Brightness()}, **changes)
    delta = (0.01 * torch.randn(2, 3, 32, 32, generator=made.rng)).requires_grad_(True)
    gradient, report = made.pull(made.batch(), delta)
    luma_change = -gradient[:, 0].sum()
    assert luma_change * way > 0
    assert {"edit called real copy", "face called fake copy"} <= set(report)


def test_the_gradient_is_that_of_equation_7(packed):
    targets = {"a": amplifier(), "b": amplifier(4.0)}
    made = trainer(packed[0], targets, {"bright": Brightness()}, c2=0.5, c3=0.25, per_step=0, balance="uniform")
    rgb, delta = made.batch(), 0.02 * torch.randn(2, 3, 32, 32, generator=made.rng)
    state = made.rng.get_state()
    gradient, _ = made.pull(rgb, delta)
    made.rng.set_state(state)
    leaf = delta.clone().requires_grad_(True)
    delivered = objective.deliver(rgb, leaf, delivery.random_channel(made.rng, 0.0))
    whole = torch.zeros(())
    for target in targets.values():
        attempt = objective.random_attempt(target, delivered, made.rng)
        fake = objective.called_real([Brightness()], attempt.edited)
        real = objective.called_fake([Brightness()], attempt.face)
        whole = whole + (-torch.log(attempt.distance + 0.005).mean() + 0.5 * fake + 0.25 * real) / 2
    (expected,) = torch.autograd.grad(whole, leaf)
    assert torch.allclose(gradient, expected, atol=1e-6)


def test_the_disrupter_learns_from_people_of_the_train_split_alone(packed, monkeypatch):
    asked = []
    monkeypatch.setattr(train, "read_clips", lambda path, splits: asked.append(list(splits)) or [])
    names = trainer(packed[0]).heads.names
    assert names
    assert {pack.split_of(name) for name in names} == {"train"} != {h.split for h in pack.read(packed[0])}
    with pytest.raises(UsageError, match="holds no clips"):
        trainer(packed[0], clips=0.5)
    assert asked == [["train"]]


def test_detectors_are_asked_two_at_a_time_in_their_turn(packed):
    detectors = {"a": Brightness(), "b": Brightness(), "c": Brightness()}
    made = trainer(packed[0], None, detectors, c2=1.0, detectors_per_step=2)
    asked = []
    for made.steps in range(3):
        asked.append([list(detectors.values()).index(d) for d in made.asked()])
    assert asked == [[0, 1], [2, 0], [1, 2]]
    made.steps, made.pull = 0, lambda rgb, delta: (torch.zeros_like(delta), {})
    made.step(1.0)
    assert made.steps == 1


def test_detectors_are_asked_in_their_turn(packed):
    detectors = {"a": Brightness(), "b": Brightness()}
    made = trainer(packed[0], None, detectors, c2=1.0, detect_every=2)
    asked = []
    for made.steps in range(6):
        asked.append([list(detectors.values()).index(d) for d in made.asked()])
    assert asked == [[0], [], [1], [], [0], []]


def test_weights_without_detectors_are_refused_and_detectors_without_weights(packed):
    with pytest.raises(UsageError, match="--detectors"):
        trainer(packed[0], c2=1.0)
    with pytest.raises(UsageError, match="detectors are asked for nothing"):
        trainer(packed[0], None, {"bright": Brightness()})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("colour=1.5", "colour is a share, 0 to 1, got 1.5"),  # P would draw beyond its hard bound
        ("clips=35", "clips is a share"),
        ("codec_share=1.01", "codec_share is a share"),
        ("enough=0.03", "enough must be 0 or at least 0.05"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(change, said):
    with pytest.raises(UsageError, match=said):
        with_changes(Settings(), [change])
    assert with_changes(Settings(), ["colour=1", "clips=1", "codec_share=0", "enough=0.05"]).colour == 1


@pytest.fixture
def steps(monkeypatch):
    """(what a step of training is given, in PSNR and learning rate); each call is over after one of them."""
    met = []

    def step(trainer, progress):
        met.append((trainer.budget(progress), trainer.opt.param_groups[0]["lr"]))
        return {}

    def call(data, out, share, settings, *rest, **options):
        monkeypatch.setattr(train, "share_done", lambda run, settings: share)
        first = len(met)
        monkeypatch.setattr(Run, "over", property(lambda run: len(met) > first))
        train.train(data, {"a": amplifier()}, {}, out, 1.0, *rest, "cpu", settings, **options)
        return met[-1]

    monkeypatch.setattr(DisrupterTrainer, "step", step)
    return call


@pytest.mark.parametrize(
    ("share", "psnr", "rate"), [(0, 31, 1), (0.25, 33.75, 1), (0.5, 36.5, 1), (0.75, 36.5, 0.55), (1, 36.5, 0.03)]
)
def test_the_strength_anneals_over_the_first_half_and_the_rate_falls_over_the_second(
    packed, tmp_path, steps, share, psnr, rate
):
    assert steps(packed[0], tmp_path / "p", share, Settings(width=8), False) == pytest.approx((psnr, rate * 1e-3))


def test_the_strength_anneals_once_however_often_a_run_is_resumed(packed, tmp_path, steps):
    """Over a planned run it goes on; in a call of its own it does not begin again, nor after another's weights."""
    for name, plan, resumed in (("planned", 60.0, 31.0), ("own", 0.0, 36.5)):
        settings = Settings(width=8, plan_minutes=plan)
        assert steps(packed[0], tmp_path / name, 0.0, settings, False)[0] == 31.0
        assert steps(packed[0], tmp_path / name, 0.0, settings, True)[0] == resumed
        begun = {"notes": {"start": {name: {}}}, "start": tmp_path / name}
        assert steps(packed[0], tmp_path / f"{name} 2", 0.0, settings, False, **begun)[0] == 36.5
        assert steps(packed[0], tmp_path / f"{name} 2", 0.0, settings, True)[0] == 36.5
        assert steps(packed[0], tmp_path / f"{name} 2", 0.0, settings, True, **begun)[0] == 36.5


def test_a_run_that_did_not_begin_with_another_cannot_do_so_later(packed, tmp_path, steps):
    for name in ("a", "b"):
        steps(packed[0], tmp_path / name, 0.0, Settings(width=8), False)
    with pytest.raises(UsageError, match="did not begin with another: resume it without --start"):
        steps(packed[0], tmp_path / "a", 0.0, Settings(width=8), True, start=tmp_path / "b")


def test_blur_and_rescaling_alone_are_no_disruption():
    region = torch.rand(2, 3, 96, 96)
    target, theta = amplifier(), crop_theta(2, HEAD_SHARE, 0.0, None)
    soft = delivery.Channel("none", 0, 96, scale=0.6, blur=1.0)
    delivered = objective.deliver(region, torch.zeros(2, 3, 32, 32), soft)
    assert delivered.seen.shape[-1] == round(0.6 * 96)
    assert objective.attempt(target, delivered, theta, target.conditions).distance.max() < 1e-3


def test_the_loop_is_harsher_than_the_test():
    rng = torch.Generator().manual_seed(0)
    drawn = [delivery.random_channel(rng) for _ in range(600)]
    h264 = [c.quality for c in drawn if c.codec == "h264"]
    jpeg = [c.quality for c in drawn if c.codec == "jpeg"]
    assert (min(h264), max(h264)) == (18, 36)
    assert min(jpeg) < 45
    assert max(jpeg) > 85
    assert 0.7 < len(h264) / 600 < 0.8
    scales = [c.scale for c in drawn if c.scale != 1]
    assert min(scales) < 0.55
    assert max(scales) > 1.45
    assert 0.25 < len(scales) / 600 < 0.35
    assert {c.side for c in drawn} == set(delivery.SIDES)
    assert all(c.scale == 1 for c in drawn if c.side == max(delivery.SIDES)), "a larger one takes too long to encode"
    assert 0.1 < sum(c.blur > 0 for c in drawn) / 600 < 0.3
    assert min(c.scale * c.side for c in drawn) >= 111


def test_p_may_draw_a_quarter_beyond_its_budget_since_it_is_held_to_it(packed):
    made = trainer(packed[0], c1=2.0)
    made.p.psnr_db = 38.0
    drawn = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5
    drawn = drawn / head_rms(drawn).reshape(-1, 1, 1, 1) * rms_of_psnr(38.0) / made.p.epsilon
    costs = [float(made.own(made.batch(), share * drawn, drawn)[0]) for share in (1.0, 1.24, 1.5)]
    assert costs == pytest.approx([0.0, 0.0, 2.0 * (1.5 / 1.25 - 1)], abs=1e-3)


def test_what_is_made_smaller_is_averaged():
    """A chequered picture at half its size is gray, as a platform's scaler leaves it; twice as large it is blurred."""
    checks = ((torch.arange(64)[:, None] + torch.arange(64)[None]) % 2).float().expand(1, 3, 64, 64)
    assert delivery.resize(checks, 24)[..., 2:-2, 2:-2].std() < 0.05
    single = torch.zeros(1, 3, 8, 8)
    single[..., 4, 4] = 1
    assert delivery.resize(single, 16).sum() == pytest.approx(4 * 3)


def test_a_neighbouring_frame_is_hardly_another():
    """At most 3 % brighter or darker, a level of noise, and moved by 2 % of the side at most."""
    gray = torch.full((200, 3, 16, 16), 0.5)
    image, theta = objective.neighbour(gray, torch.Generator().manual_seed(0))
    light = image.mean((1, 2, 3)) / 0.5 - 1
    assert 0.025 < light.abs().max() < 0.035
    assert image.std((2, 3)).mean() == pytest.approx(1 / 255, rel=0.1)
    still = crop_theta(200, 1.0, 0.0, None)
    assert 0.015 < (theta - still).abs().max() < 0.045


def test_rough_is_what_costs_bits():
    flat = torch.ones(1, 3, 32, 32)
    checks = (torch.arange(32)[:, None] + torch.arange(32)[None]) % 2 * 2.0 - 1
    assert objective.roughness(flat) < 1e-6
    assert objective.roughness(checks.expand(1, 3, 32, 32)) > 0.8


def test_steady_is_the_same_perturbation_at_the_same_place_of_the_face():
    rng = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.randn(2, 3, 6, 6, generator=rng), size=(32, 32), mode="bicubic")
    theta = crop_theta(2, 1.0, 0.1, rng)
    moved = objective.crop(smooth, theta, 32)
    assert objective.unsteadiness(smooth, moved, theta) < 1e-6
    stuck_to_the_frame = objective.unsteadiness(smooth, smooth, theta)
    other = objective.unsteadiness(smooth, torch.randn(2, 3, 32, 32, generator=rng), theta)
    assert 1e-3 < stuck_to_the_frame < other
    # Weaker is no steadier: the divisor has no gradient, so shrinking both does not help.
    delta = smooth.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(objective.unsteadiness(delta, objective.crop(delta, theta, 32), theta), delta)
    assert gradient.abs().max() < 1e-6
    other = objective.unsteadiness(delta, torch.zeros_like(delta), crop_theta(2, 1.0, 0.0, None))
    (gradient,) = torch.autograd.grad(other, delta)
    assert (gradient * delta).sum() > 1, "nor may it grow for the sake of the share"


def test_training_for_smooth_makes_it_so(packed):
    def trained(**changes):
        torch.manual_seed(0)
        made = trainer(packed[0], None, None, c1=0.0, **changes)
        made.pull = lambda rgb, delta: (torch.zeros_like(delta), {})
        for _ in range(15):
            made.step(1.0)
        rgb = made.batch()
        return objective.roughness(made.p(nn.functional.interpolate(rgb, size=(64, 64), mode="area")))

    assert trained(smooth=1.0) < trained()


def test_a_network_steps_towards_steady(packed):
    torch.manual_seed(0)
    made = trainer(packed[0], None, None)
    rgb = made.batch()
    image, theta = objective.neighbour(rgb, torch.Generator().manual_seed(1))

    def flicker():
        a, b = (made.p(nn.functional.interpolate(x, size=(64, 64), mode="area")) for x in (rgb, image))
        return objective.unsteadiness(a, b, theta), a.detach().square().mean()

    before, energy = flicker()
    before.backward()
    with torch.no_grad():
        for weight in made.p.parameters():
            weight -= 1e-3 * weight.grad / (weight.grad.norm() + 1e-9)
    after, left = flicker()
    # What the step lowers is the numerator: the divisor has no gradient.
    assert after * left < before * energy
