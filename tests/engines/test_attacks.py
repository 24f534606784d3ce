"""I-FGSM and PGD against the official attacks, step by step; the budget's promise."""

from __future__ import annotations

import pytest
import torch

from engines.attacks.base import Attack, Linf
from engines.attacks.pgd import IFGSM, PGD
from engines.generators.stargan import Generator
from stream_guard.errors import UsageError

# sign() amplifies rounding: the official code against itself differs in 0.16 % of the pixels of a step.
DIFFERING_SHARE = 0.005


@pytest.fixture(scope="module")
def official(goldens, fill_rule):
    meta, arrays = fill_rule.load(goldens, "stargan")
    network = Generator()
    fill_rule.apply_to_module(network, meta["networks"]["generator"], arrays)
    return network.train(), *fill_rule.load(goldens, "attacks")


@pytest.mark.parametrize("case_id", ["pgd", "ifgsm_zeros"])
def test_each_step_is_the_official_step(case_id, official, fill_rule):
    network, meta, arrays = official
    case = next(c for c in meta["cases"] if c["id"] == case_id)
    given = case["inputs"]["x"]
    x = torch.from_numpy(fill_rule.image(given["seed"], given["shape"], given["range"], given.get("block", 0)))
    c = torch.tensor(case["labels"], dtype=torch.float32)
    attack = IFGSM(Linf(case["epsilon"]), case["step"], case["iterations"])

    def model(image):
        return network(image, c)

    with torch.no_grad():
        target = torch.zeros_like(x) if case_id == "ifgsm_zeros" else model(x)
    x_adv = x
    if case["inputs"]["start_noise"]:
        n = case["inputs"]["start_noise"]
        x_adv = x + torch.from_numpy(fill_rule.uniform(n["seed"], n["shape"])) * n["scale"] + n["offset"]
    steps, losses = arrays[f"{case_id}/X_steps"], arrays[f"{case_id}/loss"]
    for k, expected in enumerate(steps):
        ours, loss = attack.one_step(model, x, x_adv, target)
        expected = torch.from_numpy(expected)
        assert ((ours - expected).abs() > 1e-4).float().mean() <= DIFFERING_SHARE, f"step {k}"
        assert loss == pytest.approx(float(losses[k]), rel=1e-3)
        x_adv = expected


def test_ifgsm_never_moves_from_its_own_output(official, fill_rule):
    network, meta, _ = official
    case = next(c for c in meta["cases"] if c["id"] == "ifgsm_self")
    given = case["inputs"]["x"]
    x = torch.from_numpy(fill_rule.image(given["seed"], given["shape"], given["range"], given.get("block", 0)))
    c = torch.tensor(case["labels"], dtype=torch.float32)
    assert torch.equal(IFGSM(Linf(0.05), iterations=2)(lambda image: network(image, c), x), x)


class Reckless(Attack):
    """Ignores its budget; the base class must not."""

    def run(self, model, x, target):
        return x + 10


@pytest.mark.parametrize(
    "attack", [Reckless(Linf(0.05)), PGD(Linf(0.05), iterations=3), IFGSM(Linf(0.05), iterations=2)]
)
def test_nobody_exceeds_the_budget_or_the_range(attack):
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    out = attack(lambda image: image.square(), x)
    assert (out - x).abs().max() <= 0.05 + 1e-6
    assert out.abs().max() <= 1


def test_pgd_raises_the_distance():
    x = torch.rand(2, 3, 16, 16) - 0.5
    out = PGD(Linf(0.05), iterations=5)(lambda image: 3 * image, x)
    assert (3 * out - 3 * x).square().mean() > 0.01


@pytest.mark.parametrize(
    ("x", "said"), [(torch.zeros(3, 8, 8), "shape|takes"), (torch.full((1, 3, 8, 8), 2.0), r"\[-1, 1\]")]
)
def test_bad_images_are_refused(x, said):
    with pytest.raises(UsageError, match=said):
        PGD(Linf(0.05))(lambda image: image, x)


def test_a_budget_must_be_positive():
    with pytest.raises(UsageError, match="epsilon"):
        Linf(0.0)
