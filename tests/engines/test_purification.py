"""Deep Image Prior: a batch is as many runs, structure comes before noise, the stop is where variance is least."""

from __future__ import annotations

import pytest
import torch

from engines.purification.network import FAST_CHANNELS, FAST_SKIPS, PAPER_CHANNELS, PAPER_SKIPS, PriorNetwork, noise
from engines.purification.prior import EarlyStop, Fixed, Settings, _answer, purify
from stream_guard.errors import UsageError

SMALL = Settings(channels=(4, 8), skips=(0, 4), depth=4, iterations=30, jitter=0.0)


def picture(seed: int = 0, size: int = 16) -> torch.Tensor:
    """A soft gradient (1, 3, size, size) in [-1, 1], another for each seed."""
    at = torch.linspace(-1, 1, size)
    slope = torch.randn(3, 2, generator=torch.Generator().manual_seed(seed))
    return torch.tanh(slope[:, :1, None] * at[None, :, None] + slope[:, 1:, None] * at[None, None, :])[None]


def brightness(x: torch.Tensor) -> torch.Tensor:
    return (x.mean((1, 2, 3)) + 1) / 2


def test_the_papers_network_has_its_shape() -> None:
    network = PriorNetwork(1)
    out = network(noise(1, 64, torch.Generator().manual_seed(0))).detach()
    assert out.shape == (1, 3, 64, 64)
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1
    assert (PAPER_CHANNELS, PAPER_SKIPS) == ((8, 16, 32, 64, 128), (0, 0, 0, 4, 4))


def test_images_of_a_batch_do_not_touch_each_other() -> None:
    torch.manual_seed(0)
    network = PriorNetwork(3, FAST_CHANNELS, FAST_SKIPS, 4)
    z = noise(3, 32, torch.Generator().manual_seed(1), 4).requires_grad_(True)
    (grad,) = torch.autograd.grad(network(z)[1].sum(), z)
    touched = grad.unflatten(1, (3, 4)).abs().sum((0, 2, 3, 4)) > 0
    assert touched.tolist() == [False, True, False]


def test_a_batch_of_networks_computes_what_single_ones_do() -> None:
    torch.manual_seed(0)
    both = PriorNetwork(2, (4, 8), (0, 4), 4)
    z = noise(2, 16, torch.Generator().manual_seed(1), 4)
    out = both(z)
    for k in range(2):
        one = PriorNetwork(1, (4, 8), (0, 4), 4)
        state = {
            name: value.unflatten(0, (2, -1))[k] if value.ndim else value for name, value in both.state_dict().items()
        }
        one.load_state_dict(state)
        torch.testing.assert_close(one(z.unflatten(1, (2, 4))[:, k])[0], out[k], atol=1e-5, rtol=1e-4)


def test_it_fits_the_picture_and_takes_structure_before_noise() -> None:
    clean = picture(size=32)
    noisy = (clean + 0.3 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)
    done = purify(noisy, brightness, Settings((8, 16), (0, 0), 4, iterations=120, jitter=0.0), Fixed(120))
    assert (done.pictures - clean).square().mean() < 0.7 * (noisy - clean).square().mean()


def test_the_path_and_its_average() -> None:
    done = purify(torch.cat([picture(0), picture(1)]), brightness, SMALL, Fixed(20))
    assert done.steps.tolist() == list(range(1, 31))
    assert done.path.shape == (30, 2)
    assert done.chosen == [20, 20]
    torch.testing.assert_close(done.p_real, done.path[14:25].mean(0))
    torch.testing.assert_close(done.averaged(10)[19], done.p_real)


def test_looking_less_often_changes_nothing_else() -> None:
    often = purify(picture(), brightness, SMALL, Fixed(20))
    seldom = purify(picture(), brightness, Settings((4, 8), (0, 4), 4, iterations=30, jitter=0.0, every=5), Fixed(20))
    torch.testing.assert_close(seldom.path[:, 0], often.path[4::5, 0])


def test_the_same_seed_gives_the_same_answer_and_leaves_torchs_own_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    runs = [purify(picture(), brightness, SMALL, Fixed(20)).p_real for _ in range(2)]
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(torch.rand(3), expected)


def test_it_stops_where_the_variance_is_least() -> None:
    stop = EarlyStop(window=4, patience=6, every=1, after=0)
    rng = torch.Generator().manual_seed(0)
    # Still until step 20, then ever noisier: the windows that end up to there vary least.
    ended = 0
    for step in range(1, 100):
        size = 1 / step if step <= 20 else 0.05 * (step - 19)
        if stop.look(step, size * torch.randn(1, 3, 4, 4, generator=rng)):
            ended = step
            break
    assert 20 < ended < 40
    assert 10 <= stop.chosen(ended, 1)[0] <= 21


def test_without_a_decision_the_last_iteration_counts() -> None:
    assert EarlyStop().chosen(7, 2) == [7, 7]
    assert Fixed(6000).chosen(50, 1) == [50]


@pytest.mark.parametrize("shape", [(1, 3, 18, 18), (1, 1, 16, 16), (1, 3, 16, 24)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="a multiple of 4"):
        purify(torch.zeros(shape), brightness, SMALL, Fixed())


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="iterations"):
        Settings(iterations=0)


def test_the_stop_is_in_the_middle_of_the_calmest_window_once_patience_ends() -> None:
    """Windows of two pictures, looked at every second step; the calm ones before step 8 are never chosen."""
    stop = EarlyStop(window=4, patience=4, every=2, after=8)
    drawn = dict(zip(range(2, 17, 2), (0.0, 0.0, 0.0, 3.0, 4.0, 6.0, 7.5, 9.0), strict=True))
    ended = [stop.look(step, torch.full((1, 3, 2, 2), drawn.get(step, 0.0))) for step in range(1, 17)]
    assert ended == [False] * 15 + [True]
    assert stop.chosen(16, 1) == [10 - 4 // 2]


def test_where_nobody_was_asked_within_the_window_the_nearest_answers_count() -> None:
    steps, path = torch.tensor([4, 8, 12]), torch.tensor([[0.2], [0.4], [0.9]])
    assert _answer(torch.zeros(1), steps, path, [6], window=2).p_real.tolist() == pytest.approx([0.3])
    assert _answer(torch.zeros(1), steps, path, [8], window=8).p_real.tolist() == pytest.approx([0.5])
