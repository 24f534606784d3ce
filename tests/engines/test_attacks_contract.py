"""What every attack promises, for every attack: add one line to ATTACKS."""

from __future__ import annotations

import pytest
import torch

from engines.attacks.apgd import APGD
from engines.attacks.base import L2, Attack, Linf
from engines.attacks.blur import SPREAD, Blur
from engines.attacks.classifier import FGSM
from engines.attacks.cw import CarliniWagner
from engines.attacks.cw_l2 import CarliniWagnerL2
from engines.attacks.pgd import IFGSM, PGD, BlurPGD, IterativeClass, JointClass
from engines.attacks.square import Square
from engines.attacks.universal import Universal
from stream_guard.errors import EngineError, UsageError

EPSILON = 0.05


class Reckless(Attack):
    """Ignores its budget; the base class must not."""

    def run(self, models, x, target):
        return x + 10


def fitted():
    attack = Universal(Linf(EPSILON), iterations=3)
    attack.fit([model], [images(3)])
    return attack


ATTACKS = {
    "reckless": lambda budget, seed: Reckless(budget),
    "ifgsm": lambda budget, seed: IFGSM(budget, iterations=2),
    "pgd": lambda budget, seed: PGD(budget, iterations=3, seed=seed),
    "joint": lambda budget, seed: JointClass(budget, iterations=3, seed=seed),
    "iterative": lambda budget, seed: IterativeClass(budget, iterations=3, seed=seed),
    "blur": lambda budget, seed: BlurPGD(budget, [Blur(5, 1.0)], iterations=3, seed=seed),
    "spread": lambda budget, seed: BlurPGD(budget, SPREAD, iterations=3, seed=seed),
    "cw": lambda budget, seed: CarliniWagner(budget, iterations=8, lr=0.05, seed=seed),
    "universal": lambda budget, seed: fitted(),
    "fgsm": lambda budget, seed: FGSM(budget),
    "cw_l2": lambda budget, seed: CarliniWagnerL2(budget, search_steps=2, iterations=8),
    "apgd": lambda budget, seed: APGD(budget, iterations=6, seed=seed),
    "square": lambda budget, seed: Square(budget, queries=6, seed=seed),
}
RANDOM = ("pgd", "joint", "iterative", "blur", "spread", "cw", "apgd", "square")
SINGLE = ("reckless", "ifgsm", "pgd", "fgsm", "cw_l2", "apgd", "square")


def model(image):
    return torch.tanh(4 * image + image.roll(1, 3))


def classifier(image):
    half = model(image).flatten(1).unflatten(1, (2, -1))
    return 4 * half.mean(2)


def model_of(name):
    """What the attack takes: a classifier's logits, or an edited image."""
    return classifier if name in ("fgsm", "cw_l2", "apgd", "square") else model


def images(n, seed=0):
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(params=ATTACKS)
def name(request):
    return request.param


def test_nobody_exceeds_the_budget_or_the_range(name):
    x = images(2)
    out = ATTACKS[name](Linf(EPSILON), 0)(model_of(name), x)
    assert out.shape == x.shape
    assert (out - x).abs().max() <= EPSILON + 1e-6
    assert out.abs().max() <= 1
    assert not out.requires_grad


@pytest.mark.parametrize("name", [n for n in ATTACKS if n != "universal"])
def test_an_l2_budget_holds_as_well(name):
    x = images(2)
    out = ATTACKS[name](L2(0.01), 0)(model_of(name), x)
    assert (out - x).square().mean((1, 2, 3)).sqrt().max() <= 0.01 + 1e-6
    assert out.abs().max() <= 1


def test_the_same_seed_gives_the_same_picture(name):
    x = images(2)
    assert torch.equal(
        ATTACKS[name](Linf(EPSILON), 3)(model_of(name), x), ATTACKS[name](Linf(EPSILON), 3)(model_of(name), x)
    )


@pytest.mark.parametrize("name", RANDOM)
def test_another_seed_gives_another_picture(name):
    x = images(1)
    assert not torch.equal(
        ATTACKS[name](Linf(EPSILON), 1)(model_of(name), x), ATTACKS[name](Linf(EPSILON), 2)(model_of(name), x)
    )


def test_a_picture_is_attacked_alike_alone_and_in_a_batch(name):
    x = images(3)
    whole = ATTACKS[name](Linf(EPSILON), 0)(model_of(name), x)
    alone = torch.cat([ATTACKS[name](Linf(EPSILON), 0)(model_of(name), one) for one in x.split(1)])
    assert ((whole - alone).abs() > 1e-4).float().mean() < 0.01


def test_the_global_seed_is_left_alone(name):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    ATTACKS[name](Linf(EPSILON), 5)(model_of(name), images(1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(3, 8, 8), "takes"),
        (torch.zeros(1, 4, 8, 8), "takes"),
        (torch.zeros(0, 3, 8, 8), "takes"),
        (torch.full((1, 3, 8, 8), 2.0), r"\[-1, 1\]"),
        (torch.full((1, 3, 8, 8), torch.nan), r"\[-1, 1\]"),
    ],
)
def test_bad_images_are_refused(name, x, said):
    with pytest.raises(UsageError, match=said):
        ATTACKS[name](Linf(EPSILON), 0)(model_of(name), x)


def test_no_model_is_refused(name):
    with pytest.raises(UsageError, match="needs a model"):
        ATTACKS[name](Linf(EPSILON), 0)([], images(1))


def test_several_models_are_taken_or_refused_in_words(name):
    attack = ATTACKS[name](Linf(EPSILON), 0)
    if name in SINGLE:
        with pytest.raises(UsageError, match="attacks one model, got 2"):
            attack([model, model], images(1))
    else:
        assert attack([model, model], images(1)).shape == (1, 3, 16, 16)


@pytest.mark.parametrize("name", [n for n in ATTACKS if n != "reckless"])
def test_a_model_that_breaks_is_said(name):
    with pytest.raises(EngineError, match="not finite"):
        ATTACKS[name](Linf(EPSILON), 0)(lambda image: image / 0 * 0, images(1))


@pytest.mark.parametrize("budget", [lambda: Linf(0.0), lambda: Linf(3.0), lambda: L2(-1.0)])
def test_a_budget_must_be_positive(budget):
    with pytest.raises(UsageError, match=r"must be in \(0, 2\]"):
        budget()


@pytest.mark.parametrize(
    "make",
    [
        lambda: PGD(Linf(EPSILON), step=0),
        lambda: IFGSM(Linf(EPSILON), iterations=0),
        lambda: CarliniWagner(Linf(EPSILON), c=0),
        lambda: Universal(Linf(EPSILON), momentum=1.0),
        lambda: BlurPGD(Linf(EPSILON), []),
    ],
)
def test_senseless_options_are_refused(make):
    with pytest.raises(UsageError):
        make()
