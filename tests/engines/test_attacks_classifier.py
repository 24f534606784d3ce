"""Attacks on classifiers: FGSM, Carlini-Wagner L2, Auto-PGD, Square, and the checks for masked gradients."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engines.attacks.apgd import APGD, checkpoints
from engines.attacks.base import Linf
from engines.attacks.classifier import FGSM, PAPER_EPSILON, Anywhere, labels_of, margin
from engines.attacks.cw_l2 import CarliniWagnerL2, _Search
from engines.attacks.square import Square
from engines.attacks.suite import gradient_checks, held_by, right, standard
from stream_guard.errors import UsageError

EPSILON = 0.05


class Linear(nn.Module):
    """Two logits, +-scale (w . x + b): the distance to its boundary is known."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        weight = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
        self.weight, self.scale = weight / weight.norm(), scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side = self.scale * (x * self.weight).sum((1, 2, 3))
        return torch.stack([side, -side], 1)


class Stepped(nn.Module):
    """A linear model behind a quantiser: right answers, gradients of zero."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Linear()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner((x * 8).round() / 8 + 0 * x)


def images(n: int, size: int = 8, seed: int = 1) -> torch.Tensor:
    return (torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1) * 0.8


def small_net() -> nn.Module:
    """Curved, with two logits of order 1; cheap."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 5, 2, 2), nn.GELU(), nn.Conv2d(8, 8, 5, 2, 2), nn.GELU()
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 64, 2)).eval().requires_grad_(False)


def labels(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(x).argmax(1)


class TestTargets:
    def test_labels_or_logits(self) -> None:
        logits = torch.tensor([[0.0, 2.0], [3.0, 1.0]])
        assert labels_of(logits, 2).tolist() == [1, 0]
        assert labels_of(torch.tensor([1, 0]), 2).tolist() == [1, 0]

    @pytest.mark.parametrize("target", [torch.zeros(3, dtype=torch.long), torch.zeros(2), torch.zeros(2, 3, 4)])
    def test_anything_else_is_refused(self, target: torch.Tensor) -> None:
        with pytest.raises(UsageError, match="the target of 2 images"):
            labels_of(target, 2)

    def test_the_margin_is_that_of_eq_4(self) -> None:
        logits = torch.tensor([[1.0, 4.0, 2.0], [5.0, 0.0, 3.0]])
        assert margin(logits, torch.tensor([0, 0])).tolist() == [-3.0, 2.0]


class TestFGSM:
    def test_it_is_eq_1(self) -> None:
        model, x = small_net(), images(3, 32)
        y = labels(model, x)
        inner = x.clone().requires_grad_(True)
        F.cross_entropy(model(inner), y).backward()
        expected = (x + PAPER_EPSILON * inner.grad.sign()).clamp(-1, 1)
        torch.testing.assert_close(FGSM(Linf(PAPER_EPSILON))(model, x, y), expected)

    def test_without_a_target_it_flees_the_models_own_answer(self) -> None:
        model, x = Linear(), images(4)
        assert torch.equal(FGSM(Linf(EPSILON))(model, x), FGSM(Linf(EPSILON))(model, x, labels(model, x)))


class TestCarliniWagnerL2:
    def test_it_finds_the_nearest_image_across_a_plane(self) -> None:
        model, x = Linear(), images(6)
        attack = CarliniWagnerL2(c=(1.0, 1e4), search_steps=6, iterations=400, confidence=0.0, early=False)
        found = attack(model, x, labels(model, x))
        assert not right(model, found, labels(model, x)).any()
        nearest = (x * model.weight).sum((1, 2, 3)).abs()
        moved = (found - x).flatten(1).norm(dim=1)
        assert (moved >= nearest - 1e-4).all()
        assert (moved <= 1.05 * nearest + 0.02).all()

    def test_confidence_is_reached_in_logits(self) -> None:
        model, x = Linear(20.0), images(4)
        y = labels(model, x)
        found = CarliniWagnerL2(c=(1.0, 1e4), iterations=200, confidence=10.0)(model, x, y)
        assert (margin(model(found), y) <= -10.0).all()

    def test_a_confidence_out_of_reach_gives_the_greatest_margin_not_the_original(self) -> None:
        model, x = Linear(), images(4)
        y = labels(model, x)
        found = CarliniWagnerL2(c=(1.0, 1e2), search_steps=2, iterations=60, confidence=1e6)(model, x, y)
        assert (margin(model(found), y) < -1).all()

    def test_a_c_that_cannot_grow_is_not_tried_again(self) -> None:
        """Out of reach, c is 1, 10 and then 100, however many steps there are; within reach every step halves it."""
        counts, found = [], []
        for confidence, steps in ((1e6, 3), (1e6, 8), (0.0, 3), (0.0, 8)):
            inner, asked = Linear(), []
            x = images(2)
            y = labels(inner, x)

            def model(at: torch.Tensor, inner: nn.Module = inner, asked: list[int] = asked) -> torch.Tensor:
                asked.append(len(at))
                return inner(at)

            attack = CarliniWagnerL2(
                c=(1.0, 1e2), search_steps=steps, iterations=10, confidence=confidence, early=False
            )
            found.append(attack(model, x, y))
            counts.append(len(asked))
        assert counts[0] == counts[1] == 30
        assert torch.equal(found[0], found[1])
        assert counts[3] == 80

    def test_c_is_found_by_halving_what_failed_and_what_won_enclose(self) -> None:
        found = torch.zeros(1)
        search = _Search(found, found + 100, found + 1, found, found, found)
        tried = []
        for won in (True, False, True, False):
            search.next_c(torch.tensor([won]))
            tried.append(float(search.c))
        assert tried == [0.5, 0.75, 0.625, 0.6875]

    def test_stopping_early_finds_as_much(self) -> None:
        model, x = small_net(), images(4, 32)
        y = labels(model, x)
        found = [
            CarliniWagnerL2(c=(1.0, 1e4), search_steps=3, iterations=300, confidence=0.0, early=early)(model, x, y)
            for early in (False, True)
        ]
        distances = [(one - x).flatten(1).norm(dim=1) for one in found]
        assert not any(right(model, one, y).any() for one in found)
        assert distances[1].mean() <= 1.15 * distances[0].mean()

    def test_an_image_does_not_depend_on_its_batch(self) -> None:
        model, x = small_net(), images(3, 32)
        y = labels(model, x)
        attack = CarliniWagnerL2(c=(1.0, 1e4), search_steps=2, iterations=40, confidence=0.0)
        together, alone = attack(model, x, y), attack(model, x[1:2], y[1:2])
        assert (together[1:2] - x[1:2]).norm() == pytest.approx(float((alone - x[1:2]).norm()), rel=0.02)

    @pytest.mark.parametrize("wrong", [{"c": (10.0, 1.0)}, {"lr": 0.0}, {"search_steps": 0}, {"confidence": -1.0}])
    def test_settings_out_of_range_are_refused(self, wrong: dict[str, object]) -> None:
        with pytest.raises(UsageError, match="rising range"):
            CarliniWagnerL2(**wrong)

    def test_foolbox_finds_the_same(self) -> None:
        """Success alike; mean distance within 2 %, each image's within 10 %: the optimisers differ in rounding only."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports names that SciPy is about to drop
            foolbox = pytest.importorskip("foolbox")
        model, x = small_net(), images(6, 32)
        y = labels(model, x)
        theirs = foolbox.PyTorchModel(
            model, bounds=(0, 1), device="cpu", preprocessing={"mean": [0.5] * 3, "std": [0.5] * 3, "axis": -3}
        )
        attack = foolbox.attacks.L2CarliniWagnerAttack(4, steps=60, stepsize=0.01, initial_const=1.0, abort_early=False)
        _, expected, success = attack(theirs, (x + 1) / 2, y, epsilons=None)
        ours = CarliniWagnerL2(c=(1.0, 1e10), search_steps=4, iterations=60, confidence=0.0, early=False)(model, x, y)
        assert success.all()
        assert not right(model, ours, y).any()
        distances = [(one - (x + 1) / 2).flatten(1).norm(dim=1) for one in (expected, (ours + 1) / 2)]
        torch.testing.assert_close(distances[1], distances[0], rtol=0.1, atol=1e-3)
        assert float(distances[1].mean()) == pytest.approx(float(distances[0].mean()), rel=0.02)

    def test_foolbox_agrees_on_fgsm(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            foolbox = pytest.importorskip("foolbox")
        model, x = small_net(), images(6, 32)
        y = labels(model, x)
        theirs = foolbox.PyTorchModel(
            model, bounds=(0, 1), device="cpu", preprocessing={"mean": [0.5] * 3, "std": [0.5] * 3, "axis": -3}
        )
        _, expected, _ = foolbox.attacks.FGSM()(theirs, (x + 1) / 2, y, epsilons=0.02)
        torch.testing.assert_close((FGSM(Linf(0.04))(model, x, y) + 1) / 2, expected, atol=1e-5, rtol=0)


class TestSuite:
    @pytest.mark.parametrize("loss", ["ce", "margin"])
    def test_auto_pgd_reaches_the_corner_of_a_linear_model(self, loss: str) -> None:
        model, x = Linear(), images(5)
        y = labels(model, x)
        found = APGD(Linf(EPSILON), loss, iterations=20)(model, x, y)
        corner = FGSM(Linf(EPSILON))(model, x, y)
        torch.testing.assert_close(margin(model(found), y), margin(model(corner), y), atol=1e-4, rtol=1e-3)

    def test_auto_pgd_is_no_weaker_than_one_step(self) -> None:
        model, x = small_net(), images(6, 32)
        y = labels(model, x)
        one, many = (attack(model, x, y) for attack in (FGSM(Linf(EPSILON)), APGD(Linf(EPSILON), "margin", 30)))
        assert (margin(model(many), y) <= margin(model(one), y) + 1e-4).all()

    @pytest.mark.parametrize("loss", ["ce", "margin"])
    def test_auto_pgd_settles_on_a_point_inside_the_budget(self, loss: str) -> None:
        """Steps of twice epsilon only jump across it: they have to be halved, from the best image so far."""
        x = images(3)
        signs = torch.sign(torch.randn(x.shape, generator=torch.Generator().manual_seed(2)))
        worst = x + 0.4 * EPSILON * signs

        def model(at: torch.Tensor) -> torch.Tensor:
            own = (at - worst).square().sum((1, 2, 3))
            return torch.stack([own, torch.zeros_like(own)], 1)

        found = APGD(Linf(EPSILON), loss, iterations=50)(model, x, torch.zeros(3, dtype=torch.long))
        assert (found - worst).abs().mean() < 0.05 * EPSILON

    def test_auto_pgd_steps_with_the_papers_momentum(self) -> None:
        """Algorithm 1 of Croce and Hein, by hand for the first two steps: alpha is .75, the step twice epsilon."""
        inner, x, met = small_net(), images(1, 32), []
        y = labels(inner, x)

        def model(at: torch.Tensor) -> torch.Tensor:
            met.append(at.detach().clone())
            return inner(at)

        def clip(at: torch.Tensor) -> torch.Tensor:
            return at.clamp(x - EPSILON, x + EPSILON).clamp(-1, 1)

        def signs(at: torch.Tensor) -> torch.Tensor:
            at = at.clone().requires_grad_(True)
            return torch.autograd.grad(F.cross_entropy(inner(at), y), at)[0].sign()

        APGD(Linf(EPSILON), "ce", iterations=20)(model, x, y)
        before, now, after = met[:3]
        torch.testing.assert_close(now, clip(before + 2 * EPSILON * signs(before)))
        ahead = clip(now + 2 * EPSILON * signs(now))
        torch.testing.assert_close(after, clip(now + 0.75 * (ahead - now) + 0.25 * (now - before)))

    def test_the_squares_shrink_as_the_paper_says(self) -> None:
        """Its schedule for 10000 queries, stretched to fewer: halved after 10, 50, 200, 500, 1000, 2000 and so on."""
        asked = (0, 10, 11, 50, 51, 200, 201, 501, 1001, 2001, 4001, 6001, 8001, 9999)
        halved = (0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 9)
        whole, fewer = Square(Linf(0.1), queries=10000), Square(Linf(0.1), queries=500)
        assert [whole._area(k) for k in asked] == pytest.approx([0.8 / 2**n for n in halved])
        assert fewer._area(3) == whole._area(60)

    def test_checkpoints_come_ever_closer(self) -> None:
        found = sorted(checkpoints(100))
        assert found == [22, 41, 57, 70, 80, 87, 93, 99]
        gaps = torch.tensor(found).diff().tolist()
        assert gaps == sorted(gaps, reverse=True)

    def test_squares_of_one_colour_at_the_corners_of_the_budget_lie_on_stripes(self) -> None:
        x, met = images(2, 12)[..., :10], []

        def model(at: torch.Tensor) -> torch.Tensor:
            met.append(at)
            level = at.sum((1, 2, 3)) * (-1) ** len(met)
            return torch.stack([level, -level], 1)

        Square(Linf(0.1), queries=1, share=0.2)(model, x, torch.zeros(2, dtype=torch.long))
        first, tried = ((at - x) / 0.1 for at in met)
        assert torch.equal(first.round(), first.round()[:, :, :1].expand_as(first))
        for at in (first, tried):
            torch.testing.assert_close(at.abs(), torch.ones_like(at), atol=1e-5, rtol=0)
        rows, columns = torch.nonzero((tried - first).abs().amax((0, 1)) > 1, as_tuple=True)
        assert rows.max() - rows.min() + 1 == 5  # the root of a fifth of 120, rounded
        assert columns.max() - columns.min() + 1 <= 5
        inside = tried[:, :, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].round()
        assert torch.equal(inside, inside[:, :, :1, :1].expand_as(inside))

    def test_square_needs_no_gradient(self) -> None:
        model, x = Stepped(), images(6) * 0.05
        y = labels(model, x)
        found = Square(Linf(0.3), queries=200)(model, x, y)
        assert right(model, found, y).float().mean() <= 0.2

    def test_masked_gradients_are_noticed(self) -> None:
        model = Stepped()
        x = torch.stack([k * model.inner.weight for k in (0.8, -0.8, 1.0, -1.0)])
        y = labels(model, x)
        held = held_by(model, x, y, standard(0.3, iterations=5, queries=200))
        checks = gradient_checks(model, x, y, 0.3, held)
        assert checks["share_of_zero_gradients"] == 1.0
        assert not checks["gradients_beat_random_search"]

    def test_an_open_model_passes_and_the_worst_attack_counts(self) -> None:
        model, x = Linear(), images(8)
        y = labels(model, x)
        held = held_by(model, x, y, standard(EPSILON, iterations=10, queries=50))
        assert held.robust.sum() == min(int(kept.sum()) for kept in held.by_attack.values())
        checks = gradient_checks(model, x, y, EPSILON, held)
        assert checks.pop("share_of_zero_gradients") == 0.0
        assert all(checks.values())

    @pytest.mark.parametrize("make", [lambda: APGD(Linf(0.1), "dlr"), lambda: Square(Linf(0.1), queries=0)])
    def test_settings_out_of_range_are_refused(self, make: object) -> None:
        with pytest.raises(UsageError):
            make()  # type: ignore[operator]


def test_anywhere_is_bounded_by_the_pixel_range_alone() -> None:
    x = images(2)
    assert Anywhere().clip(x, x + 5).max() == 1


def by_the_book(model, x: torch.Tensor, label: int, epsilon: float, iterations: int) -> torch.Tensor:
    """Algorithm 1 of Croce and Hein for one image (1, 3, H, W), from the start of APGD's seed 0."""

    def look(at):
        at = at.detach().requires_grad_(True)
        loss = F.cross_entropy(model(at), torch.tensor([label]))
        return loss.item(), torch.autograd.grad(loss, at)[0]

    def held(at):
        return (x + (at - x).clamp(-epsilon, epsilon)).clamp(-1, 1)

    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    best = last = now = held(x + epsilon * noise)
    f, slope = look(now)
    f_best, slope_best, f_best_then, step, halved, rises, mark = f, slope, f, 2 * epsilon, True, 0, 0
    for k in range(1, iterations + 1):
        z = held(now + step * slope.sign())
        last, now = now, z if k == 1 else held(now + 0.75 * (z - now) + 0.25 * (now - last))
        f_before, (f, slope) = f, look(now)
        rises += f > f_before
        if f > f_best:
            best, f_best, slope_best = now, f, slope
        if k in checkpoints(iterations):
            stands = rises < 0.75 * (k - mark) or (not halved and f_best <= f_best_then)
            halved, f_best_then, rises, mark = stands, f_best, 0, k
            if stands:
                step, last, now, f, slope = step / 2, best, best, f_best, slope_best
    return best


@pytest.mark.parametrize("image", [0, 36, 90, 118])
def test_auto_pgd_walks_as_in_the_paper(image: int) -> None:
    """On a network whose loss goes up and down; for the last three it also rises often and gains nothing."""
    rng = torch.Generator().manual_seed(0)
    x = (torch.rand(400, 3, 2, 2, generator=rng) * 2 - 1)[image : image + 1]
    first, second = torch.randn(12, 16, generator=rng), torch.randn(16, 2, generator=rng)

    def model(images: torch.Tensor) -> torch.Tensor:
        return torch.sin(images.flatten(1) @ first) @ second

    label = int(model(x).argmax())
    found = APGD(Linf(0.3), "ce", 60)(model, x, torch.tensor([label]))
    assert torch.allclose(found, by_the_book(model, x, label, 0.3, 60), atol=1e-6)
