"""The attacks against the official ones, step by step; each attack alone."""

from __future__ import annotations

import pytest
import torch

from engines.attacks.base import L2, Linf
from engines.attacks.blur import SPREAD, Blur
from engines.attacks.cw import CarliniWagner
from engines.attacks.pgd import IFGSM, PGD, BlurPGD, IterativeClass, JointClass, features
from engines.attacks.universal import Universal, masked_distance
from engines.generators import stargan
from engines.generators.ganimation import Generator as GANimation
from stream_guard.errors import UsageError

# sign() amplifies rounding: the official code against itself differs in 0.16 % of the pixels of a step.
DIFFERING_SHARE = 0.005
# Each of these steps starts from the official state before it; together they meet every class and blur kind.
COMPARED = (0, 1, 2, 5, 9)


class Official:
    """The generators filled by rule, and the official attacks' cases on them."""

    def __init__(self, goldens, fill_rule):
        self.rule, (self.meta, self.arrays) = fill_rule, fill_rule.load(goldens, "attacks")
        self.stargan = self.filled(goldens, "stargan", stargan.Generator())
        self.goldens = goldens

    def filled(self, goldens, name, network):
        meta, arrays = self.rule.load(goldens, name)
        state = self.rule.build_state(meta["networks"]["generator"], arrays)
        network.load_state_dict({key: torch.as_tensor(state[key]) for key in network.state_dict()})
        return network.train().requires_grad_(False)

    def case(self, case_id):
        return next(c for c in self.meta["cases"] if c["id"] == case_id)

    def image(self, given):
        shape = given["shape"]
        return torch.from_numpy(self.rule.image(given["seed"], shape, given["range"], given.get("block", 0)))

    def noise(self, given):
        return torch.from_numpy(self.rule.uniform(given["seed"], given["shape"])) * given["scale"] + given["offset"]

    def models(self, case, network):
        """One model a label of the case."""
        labels = case["labels"]
        if isinstance(labels, dict):
            rows = [torch.from_numpy(self.rule.uniform(labels["seed"], labels["shape"]))]
        elif isinstance(labels[0][0], list):
            rows = [torch.tensor(row, dtype=torch.float32) for row in labels]
        else:
            rows = [torch.tensor(labels, dtype=torch.float32)]
        return [lambda image, c=c: network(image, c) for c in rows]


@pytest.fixture(scope="module")
def official(goldens, fill_rule):
    return Official(goldens, fill_rule)


def same_picture(ours, expected, what):
    assert ((ours - expected).abs() > 1e-4).float().mean() <= DIFFERING_SHARE, what


@pytest.mark.parametrize(
    ("case_id", "kind"),
    [
        ("pgd", IFGSM),
        ("ifgsm_zeros", IFGSM),
        ("pgd_feature10", IFGSM),
        ("pgd_iter_class", IterativeClass),
        ("pgd_joint_class", JointClass),
        ("pgd_blur", lambda *a: BlurPGD(a[0], [Blur(11, 1.5)], *a[1:])),
        ("pgd_blur_spread", lambda *a: BlurPGD(a[0], SPREAD, *a[1:])),
        ("ganimation", IFGSM),
    ],
)
def test_each_step_is_the_official_step(case_id, kind, official):
    case = official.case(case_id)
    network = official.stargan
    if case_id == "ganimation":
        network = official.filled(official.goldens, "ganimation", GANimation())
    models = official.models(case, network)
    if case_id == "pgd_feature10":
        c = torch.tensor(case["labels"], dtype=torch.float32)
        models = [features(lambda image: network.activations(image, c), case["feature_index"])]
    x = official.image(case["inputs"]["x"])
    attack = kind(Linf(case["epsilon"]), case["step"], case["iterations"])
    with torch.no_grad():
        target = torch.zeros_like(x) if case_id == "ifgsm_zeros" else models[0](x)
    x_adv = x + official.noise(case["inputs"]["start_noise"]) if case["inputs"]["start_noise"] else x
    steps, losses = official.arrays[f"{case_id}/X_steps"], official.arrays[f"{case_id}/loss"].reshape(10, -1)
    for k in COMPARED:
        before = torch.from_numpy(steps[k - 1]) if k else x_adv
        ours, loss = attack.one_step(attack.faced(models, k), x, before, target)
        same_picture(ours, torch.from_numpy(steps[k]), f"step {k}")
        assert loss == pytest.approx(losses[k].tolist(), rel=1e-3)


def test_the_universal_perturbation_grows_as_cmua_s(official):
    case = official.case("cmua_universal")
    (model,) = official.models(case, official.stargan)
    x = official.image(case["inputs"]["x"])
    second = official.image(case["inputs"]["x"] | {"seed": case["inputs"]["x_second_batch_seed"]})
    noise = official.noise(case["inputs"]["start_noise"])
    attack = Universal(Linf(case["epsilon"]), case["step"], case["iterations"])
    steps, losses = official.arrays["cmua_universal/up_steps_batch1"], official.arrays["cmua_universal/loss"]
    with torch.no_grad():
        target = model(x)
    for k in COMPARED:
        attack.delta = torch.from_numpy(steps[k - 1]) if k else None
        before = (x + attack.delta).clamp(-1, 1) if k else x + noise
        _, loss = attack.one_step(model, x, before, target)
        same_picture(attack.delta, torch.from_numpy(steps[k]), f"step {k}")
        assert loss == pytest.approx(float(losses[k]), rel=1e-3)
    attack.delta = torch.from_numpy(steps[-1])
    with torch.no_grad():
        target = model(second)
    last = attack.meet(model, second, target, second + noise)
    # Ten free steps: the official code differs from itself in up to 38 % of the pixels there, by at most a few steps.
    expected = torch.from_numpy(official.arrays["cmua_universal/up_after_batch2"])
    assert torch.nn.functional.cosine_similarity(attack.delta.flatten(), expected.flatten(), 0) > 0.95
    assert (last - torch.from_numpy(official.arrays["cmua_universal/X_final_batch2"])).abs().mean() < 0.005


def test_the_mask_metric_is_cmua_s(official):
    for case in official.meta["sr_mask"]["cases"]:
        img, clean, attacked, mask = (
            torch.from_numpy(official.arrays[f"sr_mask/{case['id']}/{part}"])
            for part in ("img", "gen_noattack", "gen", "mask")
        )
        found = masked_distance(img, clean, attacked)
        assert torch.equal(found.mask, mask), case["id"]
        assert found.success == bool(case["success"]), case["id"]
        if case["l2_mask_is_nan"]:
            assert found.distance != found.distance, case["id"]
        else:
            assert found.distance == pytest.approx(case["l2_mask"], abs=1e-6), case["id"]


def test_the_blurs_are_the_official_ones(official):
    for sigma in (1, 1.5, 2, 2.5, 3):
        expected = torch.from_numpy(official.arrays[f"blur/gaussian_11_sigma{sigma}"])
        assert torch.allclose(Blur(11, sigma).kernel(), expected, atol=1e-6)
    x = official.image(official.meta["blur_input"])
    for name, blur in (("gaussian_11_sigma1.5", Blur(11, 1.5)), ("average_5", Blur(5))):
        assert torch.allclose(blur(x), torch.from_numpy(official.arrays[f"blur/{name}_applied"]), atol=1e-5)
    schedule = [
        (row[1], row[2] if row[0] == "gaussian" else 0) for row in official.meta["blur_schedule"]["first_24_steps"]
    ]
    assert [(b.size, b.sigma) for b in SPREAD * 3] == schedule


def test_ifgsm_never_moves_from_its_own_output(official):
    case = official.case("ifgsm_self")
    (model,) = official.models(case, official.stargan)
    x = official.image(case["inputs"]["x"])
    assert torch.equal(IFGSM(Linf(0.05), iterations=2)(model, x), x)


def test_pgd_raises_the_distance():
    x = torch.rand(2, 3, 16, 16) - 0.5
    out = PGD(Linf(0.05), iterations=5)(lambda image: 3 * image, x)
    assert (3 * out - 3 * x).square().mean() > 0.01


def test_joint_classes_help_every_class_and_turns_alternate():
    x = torch.rand(2, 3, 16, 16) - 0.5
    models = [lambda image: 3 * image[:, :1], lambda image: 3 * image[:, 1:2]]
    alone = PGD(Linf(0.05), iterations=10)(models[0], x)
    for kind in (JointClass, IterativeClass):
        out = kind(Linf(0.05), iterations=10)(models, x, torch.zeros(2, 1, 16, 16))
        moved = [(m(out) ** 2 - m(x) ** 2).mean() for m in models]
        assert min(moved) > 0.5 * max(moved) > 0, kind
    assert (models[1](alone) - models[1](x)).square().mean() < 0.03  # only its start


def test_cw_is_small_where_little_is_enough_and_reaches_what_it_can():
    x = torch.rand(2, 3, 16, 16) - 0.5

    def model(image):
        return 6 * image

    easy = CarliniWagner(Linf(1.0), c=10.0, confidence=0.06)(model, x)
    hard = CarliniWagner(Linf(1.0), c=10.0, confidence=0.5, iterations=100)(model, x)
    reached = [(model(out) - model(x)).square().mean((1, 2, 3)) for out in (easy, hard)]
    assert reached[0].min() >= 0.06
    assert reached[1].min() >= 0.5
    # 36 mean(d^2) reaches 0.06 at the least with an rms of 0.041
    assert (easy - x).square().mean().sqrt() < 1.2 * (0.06 / 36) ** 0.5
    assert (easy - x).square().mean() < (hard - x).square().mean()


def test_an_l2_budget_is_a_psnr():
    x = torch.zeros(2, 3, 16, 16)
    out = PGD(L2(0.02), step=0.1, iterations=4, start=0.05)(lambda image: 3 * image, x)
    assert (out - x).square().mean((1, 2, 3)).sqrt() == pytest.approx(0.02, rel=1e-4)


def test_one_perturbation_serves_images_that_it_was_not_made_on():
    torch.manual_seed(0)
    weight = torch.randn(3, 3, 3, 3)

    def model(image):
        return torch.tanh(torch.nn.functional.conv2d(image, weight, padding=1))

    seen, fresh = torch.rand(8, 3, 16, 16) - 0.5, torch.rand(4, 3, 16, 16) - 0.5
    attack = Universal(Linf(0.05))
    delta = attack.fit([model], seen.split(4))
    assert delta.shape == (3, 16, 16)
    out = attack(model, fresh)
    noise = (fresh + 0.05 * torch.randn(3, 16, 16).sign()).clamp(-1, 1)
    moved = [(model(image) - model(fresh)).square().mean() for image in (out, noise)]
    assert moved[0] > 1.5 * moved[1]
    with pytest.raises(UsageError, match="this perturbation is for"):
        attack(model, torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("bad", [(4, 1.0), (0, 0.0), (3, -1.0)])
def test_a_blur_has_a_centre(bad):
    with pytest.raises(UsageError, match="odd size"):
        Blur(*bad)


def test_cw_is_content_when_the_nearest_of_several_models_is_far_enough():
    x = torch.rand(2, 3, 16, 16) - 0.5
    strong, weak = (lambda image, gain=gain: gain * (image - x) for gain in (12, 6))
    out = CarliniWagner(Linf(1.0), c=10.0, confidence=0.06)([strong, weak], x)
    assert weak(out).square().mean((1, 2, 3)).min() >= 0.06


def test_the_universal_perturbation_by_hand():
    """One step: the batch's mean of the clipped differences, a quarter of the old one kept."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 4, 4, generator=rng) - 0.5
    x_adv, old = x + 0.04 * torch.randn(x.shape, generator=rng), 0.02 * torch.randn(3, 4, 4, generator=rng)
    attack = Universal(Linf(0.05), step=0.01, momentum=0.25, factor=2.0)
    attack.delta = old
    out, _ = attack.one_step(lambda image: 3 * image, x, x_adv, 3 * x)
    change = x_adv - x
    wanted = 0.25 * old + 0.75 * (2 * (change + 0.01 * change.sign())).clamp(-0.05, 0.05).mean(0)
    torch.testing.assert_close(attack.delta, wanted)
    torch.testing.assert_close(out, x + wanted)


def test_the_universal_perturbation_is_fitted_on_every_model_and_batch():
    met = []
    models = [lambda image, k=k: met.append((k, len(image))) or (k + 1) * image for k in range(2)]
    Universal(Linf(0.05), iterations=1).fit(models, [torch.zeros(3, 3, 4, 4), torch.zeros(2, 3, 4, 4)])
    assert list(dict.fromkeys(met)) == [(0, 3), (1, 3), (0, 2), (1, 2)]
