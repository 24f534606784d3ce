"""The disrupter's network, objective and delivery loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from engines.attacks.through_delivery import ThroughDelivery, _best
from engines.data.heads import HEAD_SHARE, crop_theta
from engines.disrupter import delivery, objective
from engines.disrupter.budget import head_rms, rms_of_psnr
from engines.disrupter.network import FLAT_SHARE, GRID, SIZE, Disrupter, oval, shrink, visibility_mask
from engines.magdr.purified import PurifiedTarget
from stream_guard.errors import UsageError
from stream_guard.media import pixels
from stream_guard.media.loopback import to_yuv420
from stream_guard.media.upsampling import axis_weights
from stream_guard.types import Box
from tests.support.targets import Amplifier, amplifier


@pytest.fixture
def region():
    torch.manual_seed(0)
    coarse = torch.rand(2, 3, 6, 6) * 0.6 + 0.2
    return torch.nn.functional.interpolate(coarse, size=(96, 96), mode="bicubic").clamp(0, 1)


def test_the_network_keeps_its_hard_budget_and_size():
    network = Disrupter(8 / 255)
    for parameter in network.parameters():
        parameter.data.mul_(5)
    delta = network(torch.rand(2, 3, SIZE, SIZE))
    assert delta.shape == (2, 3, GRID, GRID)
    assert delta.abs().max() <= 8 / 255 + 1e-7
    assert 0.3e6 <= sum(p.numel() for p in network.parameters()) <= 1e6


def test_no_face_is_under_its_psnr_and_the_hard_budget_bites_first():
    """What is drawn beyond the PSNR is scaled down face by face; what is within it is left as it is."""
    torch.manual_seed(0)
    network = Disrupter(16 / 255, 8, psnr_db=38.0)
    drawn = torch.randn(3, 3, GRID, GRID).clamp(-1, 1) * torch.tensor([1.0, 0.5, 0.01]).reshape(3, 1, 1, 1)
    delta = network.hold(drawn)
    psnr = -20 * head_rms(delta).log10()
    assert psnr[:2].tolist() == pytest.approx([38.0, 38.0], abs=1e-3)
    assert torch.allclose(delta[2], drawn[2] * 16 / 255)
    assert torch.equal(network(torch.rand(1, 3, SIZE, SIZE)).isfinite(), torch.ones(1, 3, GRID, GRID, dtype=bool))


def test_rounding_is_to_255_levels_with_a_straight_gradient():
    x = torch.rand(100, requires_grad=True)
    y = delivery.round8(x)
    assert torch.allclose(y * 255, (y * 255).round(), atol=1e-4)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones(100))


@pytest.mark.parametrize("codec", ["h264", "jpeg", "none"])
def test_a_delivery_is_lossy_and_lets_the_gradient_through(region, codec):
    x = region.clone().requires_grad_(True)
    y = delivery.Channel(codec, {"h264": 23, "jpeg": 75, "none": 0}[codec], 96)(x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    psnr = -10 * torch.log10((y - x).square().mean() + 1e-12)
    assert 58 < psnr < 60 if codec == "none" else 25 < psnr < 58


def test_the_loop_writes_what_the_runtime_writes(region):
    """delivery.apply in float RGB against pixels.add_perturbation on 4:2:0 planes: the same but for rounding."""
    torch.manual_seed(1)
    delta = torch.nn.functional.interpolate(torch.randn(1, 3, 8, 8) * 0.02, size=(GRID, GRID), mode="bilinear")
    picture = to_yuv420((region[0] * 255).round().byte().permute(1, 2, 0).contiguous().numpy())
    before = pixels.read_rgb(picture, Box(0, 0, 96, 96), 96).astype(np.float32)
    pixels.add_perturbation(picture, Box(0, 0, 96, 96), delta[0].numpy(), 1.0, 1.0)
    after = pixels.read_rgb(picture, Box(0, 0, 96, 96), 96).astype(np.float32)
    loop = (
        (delivery.apply(torch.from_numpy(before / 255).permute(2, 0, 1)[None], delta))[0].permute(1, 2, 0) * 255
    ).numpy()
    difference = np.abs(loop - after)
    change = np.abs(after - before)
    assert change.mean() > 2
    assert difference.mean() < 0.35 * change.mean()


def test_the_loops_colours_are_those_of_bt_709():
    red, blue = 0.2126, 0.0722
    green = 1 - red - blue
    expected = [
        [1, 0, 2 * (1 - red)],
        [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
        [1, 2 * (1 - blue), 0],
    ]
    found = delivery.to_rgb(torch.eye(3)[..., None, None])[..., 0, 0].T
    assert torch.allclose(found, torch.tensor(expected), atol=2e-4)


def test_the_loops_window_is_a_raised_cosine():
    side = 2000
    ramp = delivery.window(side, torch.device("cpu"))[side // 2]
    at = [round(share * delivery.FEATHER * side) for share in (0.25, 0.5, 1.0)]
    assert [float(ramp[k]) for k in at] == pytest.approx([0.1464, 0.5, 1.0], abs=0.02)


@pytest.mark.parametrize("side", [96, 129])
def test_the_loop_spreads_luma_sample_for_sample_as_the_runtime_does(side):
    """Larger and smaller than the grid's double: interpolation, window and their half samples are the same ones."""
    delta = torch.zeros(1, 3, GRID, GRID)
    delta[:, 0] = 0.05 * torch.randn(GRID, GRID, generator=torch.Generator().manual_seed(2))
    found = delivery.apply_unrounded(torch.full((1, 3, side, side), 0.5), delta)[0] - 0.5
    weights = axis_weights(side, 1, False, GRID, delivery.FEATHER)
    expected = torch.from_numpy(weights @ delta[0, 0].numpy() @ weights.T).float()
    assert torch.allclose(found, expected.expand(3, -1, -1), atol=1e-6)


def test_head_rms_is_a_psnr():
    delta = torch.zeros(1, 3, GRID, GRID)
    delta[:, 0] = rms_of_psnr(38.0)
    assert -20 * torch.log10(head_rms(delta)) == pytest.approx(38.0, abs=0.2)


def in_rgb(delta):
    """(N, 3, S, S) in double precision: BT.709's YCbCr as RGB, faded out at the borders."""
    red, blue = 0.2126, 0.0722
    y, cb, cr = delta.double().numpy().transpose(1, 0, 2, 3)
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    green = (y - red * r - blue * b) / (1 - red - blue)
    return np.stack([r, green, b], 1) * delivery.window(delta.shape[-1], torch.device("cpu")).double().numpy()


def test_head_rms_counts_colour_over_the_head_alone():
    """Against BT.709 worked out from its two weights; the head is the middle 14 / 17 of the region's side."""
    rng = torch.Generator().manual_seed(0)
    delta = torch.randn(3, 3, GRID, GRID, generator=rng) * torch.eye(3)[:, :, None, None]
    delta[..., :6, :] *= 0.1  # a rim that is fainter than the head
    margin = round(GRID * (1 - HEAD_SHARE) / 2)
    head = in_rgb(delta)[..., margin : GRID - margin, margin : GRID - margin]
    assert head_rms(delta).tolist() == pytest.approx(np.sqrt((head**2).mean((1, 2, 3))).tolist(), rel=1e-3)


def test_a_frame_around_the_head_is_no_way_around_the_budget():
    frame = torch.full((1, 3, GRID, GRID), 0.05)
    frame[..., 6:-6, 6:-6] = 0
    assert float(head_rms(frame)) == pytest.approx(float(np.sqrt((in_rgb(frame) ** 2).mean())), rel=1e-3)


def test_the_mask_spares_flat_areas():
    face = torch.full((1, 3, 32, 32), 0.5)
    face[..., 16:] += 0.3 * (torch.arange(16) % 2)
    mask = visibility_mask(face)
    assert mask.shape == (1, 3, 16, 16)
    assert mask[0, :, 8, 2].tolist() == pytest.approx(FLAT_SHARE)
    assert mask[..., 10:14].min() == pytest.approx(1.0)
    assert visibility_mask(face, 0.3)[0, :, 8, 12].tolist() == pytest.approx([1.0, 0.3, 0.3])


def test_the_bound_disrupts_within_both_budgets(region):
    region = (region + 0.3 * torch.rand(2, 3, 32, 32).repeat_interleave(3, 2).repeat_interleave(3, 3) - 0.15).clamp(
        0, 1
    )
    target = amplifier()
    delta = ThroughDelivery(36.0, 16 / 255, iterations=6)(target, region)
    assert (delta.abs() <= 16 / 255 * spared(region) + 1e-7).all()
    assert (-20 * head_rms(delta).log10() >= 36.0 - 1e-3).all()
    theta = crop_theta(2, HEAD_SHARE, 0.0, None)
    rounded = delivery.Channel("none", 0, 96)
    found, none = (
        objective.attempt(target, objective.deliver(region, d, rounded), theta, target.conditions).distance
        for d in (delta, delta * 0)
    )
    assert found.min() > 0.005
    assert none.max() < 0.0005


def test_the_bound_goes_on_from_what_a_network_answered(region):
    """From an answer it never ends worse than from noise, and keeps to both budgets."""
    target, rounded, theta = amplifier(), delivery.Channel("none", 0, 96), crop_theta(2, HEAD_SHARE, 0.0, None)
    first = ThroughDelivery(36.0, 16 / 255, iterations=12)(target, region)
    short = ThroughDelivery(36.0, 16 / 255, iterations=1)
    found = [short(target, region), short(target, region, start=first), first]
    reached = [
        objective.attempt(target, objective.deliver(region, d, rounded), theta, target.conditions).distance.mean()
        for d in found
    ]
    assert reached[1] > reached[0]
    assert reached[1] > 0.8 * reached[2]
    assert (-20 * head_rms(found[1]).log10() >= 36.0 - 1e-3).all()
    with pytest.raises(UsageError, match="starts from deltas"):
        short(target, region, start=first[:, :, :8])


def test_the_bound_takes_several_generators_or_a_network_and_its_conditions(region):
    bound = ThroughDelivery(36.0, 16 / 255, iterations=2)
    assert bound([amplifier(), amplifier(4.0)], region).shape == (2, 3, GRID, GRID)
    assert bound(Amplifier(), region, torch.tensor([[0.0]])).shape == (2, 3, GRID, GRID)


def spared(region):
    """(N, 3, GRID, GRID): the share of the hard budget that each place of the picture that P sees may take."""
    return visibility_mask(shrink(region, SIZE))


def made_of(monkeypatch, distance):
    """Has the bound see the delta itself instead of an edit: `distance(target, delta)` (N,)."""
    monkeypatch.setattr(objective, "deliver", lambda rgb, delta, channel: delta)
    monkeypatch.setattr(
        objective, "random_attempt", lambda target, delta, rng: objective.Attempt(delta, delta, distance(target, delta))
    )


def test_the_bound_disrupts_all_generators_at_once(region, monkeypatch):
    """Each looks at a plane of its own; nobody looks at the third."""
    targets = [amplifier(), amplifier()]
    made_of(monkeypatch, lambda target, delta: (1 + delta[:, int(target is targets[1])]).mean((1, 2)))
    bound = ThroughDelivery(36.0, 16 / 255, iterations=8)
    luma, cb, cr = bound(targets, region).mean((0, 2, 3))
    assert luma > 0.003
    assert cb > 0.003
    assert abs(cr) < 0.002


def test_the_bound_keeps_the_beginning_that_disrupts_more_in_the_last_quarter(region, monkeypatch):
    steps, start = [], 0.01 * spared(region)

    def distance(target, delta):
        steps.append(0)
        early = torch.tensor([1e3, 1e3, 0.0, 0.0]) if len(steps) <= 6 else torch.tensor([0.0, 0.0, 1.0, 1.0])
        return early + 0 * delta.sum((1, 2, 3))

    made_of(monkeypatch, distance)
    found = ThroughDelivery(36.0, 16 / 255, iterations=8)(amplifier(), region, start=start)
    torch.testing.assert_close(found, start, atol=1e-5, rtol=0)


def test_of_each_image_the_bound_takes_its_own_best():
    found = torch.arange(4.0)[:, None, None, None]
    assert _best(found, torch.tensor([1.0, 5.0, 3.0, 2.0]), 2).flatten().tolist() == [2.0, 1.0]


class Darker(nn.Module):
    """A stand-in for a restorer that leaves no picture as it is."""

    def forward(self, x):
        return x - 0.5


def test_the_bound_behind_a_restorer_flees_from_the_edit_of_what_nobody_restored(region, monkeypatch):
    """Whatever rows it is asked for: the tables measure it against that edit."""
    behind, met, attempt = PurifiedTarget(amplifier(), Darker()), [], objective.random_attempt
    monkeypatch.setattr(objective, "random_attempt", lambda target, *rest: met.append(target) or attempt(target, *rest))
    for rows in (None, behind.conditions[1:]):
        ThroughDelivery(36.0, 16 / 255, iterations=1)(behind, region, rows)
        x, c = torch.rand(2, 3, 64, 64) * 2 - 1, torch.tensor([[0.0], [0.2]])
        assert torch.equal(met[-1](x, c), amplifier()(x - 0.5, c))
        assert torch.equal(met[-1].plain(x, c), amplifier()(x, c))
    assert met[-1].conditions.tolist() == behind.conditions[1:].tolist()
    assert isinstance(behind.narrowed(["some"]), PurifiedTarget)


@pytest.mark.parametrize(
    ("targets", "rgb", "said"),
    [
        ([], torch.zeros(1, 3, 96, 96), "at least one target"),
        (Amplifier(), torch.zeros(1, 3, 96, 96), "needs its conditions"),
        ([amplifier()], torch.zeros(1, 3, 96, 64), "square regions"),
        ([amplifier()], torch.full((1, 3, 96, 96), -0.5), r"in \[0, 1\]"),
    ],
)
def test_the_bound_refuses_in_words(targets, rgb, said):
    with pytest.raises(UsageError, match=said):
        ThroughDelivery(36.0, 16 / 255, iterations=1)(targets, rgb)


def test_the_budget_lies_over_the_head():
    where = oval(GRID)
    assert where[GRID // 2, GRID // 2] == 1
    assert where[0].max() == 0
    assert where[:, 0].max() == 0
    assert torch.equal(where, where.flip(1))
    assert where.sum(0)[GRID // 2] > where.sum(1)[GRID // 2], "a head is higher than it is wide"
    assert Disrupter()(torch.rand(1, 3, SIZE, SIZE))[..., 0, :].abs().max() == 0


def test_without_colour_a_textured_face_is_not_tinted():
    luma, *colours = Disrupter(colour=0.0)(torch.rand(1, 3, SIZE, SIZE)).abs().amax((0, 2, 3))
    assert luma > 0
    assert max(colours) == 0
