"""Several generators at once: whose turn it is, and what their gradients add up to."""

from __future__ import annotations

import itertools

import pytest
import torch

from engines.disrupter.balance import KINDS, Balance, min_norm_weights
from stream_guard.errors import UsageError


def rng():
    return torch.Generator().manual_seed(0)


def test_the_min_norm_point_of_two_is_known():
    assert min_norm_weights(torch.tensor([[1.0, 0.0], [0.0, 2.0]])).tolist() == pytest.approx([0.8, 0.2], abs=1e-3)
    assert min_norm_weights(torch.tensor([[1.0, 0.0], [3.0, 0.0]])).tolist() == pytest.approx([1.0, 0.0], abs=1e-3)
    assert min_norm_weights(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).tolist() == pytest.approx([0.5, 0.5], abs=1e-3)


def test_the_min_norm_point_of_three_is_the_shortest():
    gradients = torch.randn(3, 6, generator=rng())
    shares = [k / 40 for k in range(41)]
    shortest = min(
        float((torch.tensor([a, b, 1 - a - b]) @ gradients).norm())
        for a, b in itertools.product(shares, shares)
        if a + b <= 1
    )
    weights = min_norm_weights(gradients)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    assert float((weights @ gradients).norm()) <= shortest + 1e-4


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_mgda_moves_no_generator_backwards(scale):
    """The plain mean does, once one gradient is much longer than the other."""
    a, b = torch.tensor([1.0, 0.2]), torch.tensor([-0.8, 1.0]) * scale
    both = Balance("mgda", 2, 0).combine([0, 1], [a, b])
    assert both @ a > 0
    assert both @ b > 0
    if scale > 1:
        assert Balance("uniform", 2, 0).combine([0, 1], [a, b]) @ a < 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_as_long_as_the_mean_of_its_gradients_however_often(kind):
    """Else a network learns ever less, or more than its rate says, only because there are several generators."""
    balance = Balance(kind, 2, 0)
    for _ in range(200):
        step = balance.combine([0, 1], [torch.tensor([3.0, 0.0]), torch.tensor([3.0, 0.0])])
    assert step.tolist() == pytest.approx([3.0, 0.0], rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_two_losses_fall_together(kind):
    """Two quadratics whose scales differ 100 times; only the point between is bad for neither under mgda."""
    point = torch.zeros(2)
    goals, scales = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])], [1.0, 100.0]
    balance = Balance(kind, 2, 0)

    def losses():
        return [s * float((point - g).square().sum()) for g, s in zip(goals, scales, strict=True)]

    before = losses()
    for _ in range(200):
        gradients = [2 * s * (point - g) for g, s in zip(goals, scales, strict=True)]
        point -= 0.004 * balance.combine([0, 1], gradients)
    after = losses()
    assert after[1] < before[1]
    if kind == "mgda":
        assert after[0] < before[0]  # the others give it up: its gradient is a hundredth of the other's
    else:
        assert after[0] > 0.9 * before[0]


def test_one_generator_a_step_takes_turns():
    balance = Balance("uniform", 3)
    assert [balance.choose(rng()) for _ in range(4)] == [[0], [1], [2], [0]]
    assert Balance("mgda", 3, 2).choose(rng()) == [0, 1]
    assert Balance("mgda", 3, 9).choose(rng()) == [0, 1, 2]


def test_two_of_three_a_step_take_turns_and_go_on_after_a_resume_with_fewer():
    balance = Balance("uniform", 3, 2)
    assert [balance.choose(rng()) for _ in range(4)] == [[0, 1], [0, 2], [1, 2], [0, 1]]
    fewer = Balance("uniform", 2, 1)
    fewer.load_state_dict(balance.state_dict())
    assert (balance.turn, fewer.turn) == (2, 0)


def test_the_losing_generator_comes_up_more_often():
    balance, source = Balance("distance", 2), rng()
    for _ in range(300):
        balance.saw(0, 1.0)
        balance.saw(1, 0.2)
    turns = [balance.choose(source)[0] for _ in range(400)]
    assert 0.8 < turns.count(1) / 400 < 0.97
    assert balance.urgency.tolist() == pytest.approx([2 * 0.1 / 0.9, 2 * 0.8 / 0.9], rel=0.01)


def test_all_at_once_the_losing_generator_weighs_more():
    balance = Balance("distance", 2, 0)
    balance.won = torch.tensor([1.0, 0.0])
    both = balance.combine([0, 1], [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])])
    assert both[1] == pytest.approx(10 * both[0])


def test_shares_say_how_often_each_comes_up_whatever_it_gains():
    balance, source = Balance("distance", 3, 1, (1, 0, 3)), rng()
    for _ in range(300):
        balance.saw(2, 1.0)
    turns = [balance.choose(source)[0] for _ in range(400)]
    assert turns.count(1) == 0
    assert 0.68 < turns.count(2) / 400 < 0.82
    one = torch.tensor([2.0, 4.0])
    assert torch.equal(balance.combine([2], [one]), one)


@pytest.mark.parametrize(
    ("shares", "per_step", "said"),
    [
        ((1,), 1, "2 numbers"),
        ((1, -1), 1, "2 numbers"),
        ((0, 0), 1, "2 numbers"),
        ((1, float("inf")), 1, "2 numbers"),
        ((float("nan"), 1), 1, "2 numbers"),
        ((1, 0), 2, "per_step"),
        ((1, 1), 0, "per_step"),
    ],
)
def test_senseless_shares_are_refused(shares, per_step, said):
    with pytest.raises(UsageError, match=said):
        Balance("uniform", 2, per_step, shares)


def test_gradients_of_turns_have_one_length_under_mgda():
    balance = Balance("mgda", 2)
    lengths = [balance.combine([k % 2], [torch.ones(4) * (1, 100)[k % 2]]).norm() for k in range(300)]
    assert lengths[-1] == pytest.approx(float(lengths[-2]), rel=0.1)


def test_what_was_learned_is_kept_and_a_new_generator_starts_unbeaten():
    balance = Balance("distance", 2)
    balance.won, balance.turn = torch.tensor([0.9, 0.4]), 1
    more = Balance("distance", 3)
    more.load_state_dict(balance.state_dict())
    assert more.won.tolist() == pytest.approx([0.9, 0.4, 0.0])
    assert more.turn == 1


def test_senseless_balances_are_refused():
    with pytest.raises(UsageError, match="uniform, distance, mgda"):
        Balance("fair", 2)
    with pytest.raises(UsageError, match="at least one generator"):
        Balance("mgda", 0)
