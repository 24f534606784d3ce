"""What the detector of perturbed inputs learns from, that it learns, and where its threshold is set."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engines import importing, shipping
from engines.attacks.cw import CarliniWagner
from engines.attacks.pgd import PGD
from engines.detectors import widening
from engines.detectors.architectures import architecture
from engines.detectors.learner import Best
from engines.generators.target import Target
from engines.magdr import calibrate_inputs, perturbed, train_perturbation, train_restorer
from engines.magdr.adaptive import through_operations
from engines.magdr.perturbed import Aim, Perturbing
from engines.magdr.restorer import Restorer
from engines.training import Run
from stream_guard.errors import UsageError
from stream_guard.inference.card import load_card
from stream_guard.magdr.calibration import InputCalibration
from stream_guard.magdr.inputs import value
from tests.support.packs import heads_with_masks
from tests.support.targets import ASKED

CPU = torch.device("cpu")


class Rippling(nn.Module):
    """Answers strongly to a fine pattern, so that attacks draw one."""

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        fine = image - torch.nn.functional.avg_pool2d(image, 3, 1, 1)
        return (image + 8 * fine + condition[:, :1, None, None]).clamp(-1, 1)


@pytest.fixture
def target() -> Target:
    return Target(Rippling(), "rippling", torch.tensor([[0.0], [0.2]]), ["a", "b"])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return heads_with_masks(tmp_path)


def test_pairs_are_the_same_heads_and_only_one_is_perturbed(data: Path, target: Target) -> None:
    rng = torch.Generator().manual_seed(0)
    for own in (0.0, 1.0):
        source = Perturbing.of(data, "train", [target], own, CPU)
        for _ in range(4):
            clean, perturbed = source.pairs(4, rng)
            assert clean.shape == perturbed.shape == (4, 3, 128, 128)
            for part in (clean, perturbed):
                torch.testing.assert_close(part * 255, (part * 255).round(), atol=1e-3, rtol=0)
            apart = (perturbed - clean).square().mean((1, 2, 3))
            assert bool((apart > 1e-6).all())
            assert bool((apart < 10 ** (-22 / 10)).all())  # no head is under 22 dB: still the same head


def test_a_pair_knows_what_was_attacked(data: Path, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def attack(self: Perturbing, heads: Tensor, aim: Aim, rng: torch.Generator) -> Tensor:
        asked.append(aim)
        return torch.full_like(heads, 0.1)

    monkeypatch.setattr(Perturbing, "_attack", attack)
    rng = torch.Generator().manual_seed(0)
    _, _, aim = Perturbing.of(data, "train", [target], 0.0, CPU).aimed_pairs(4, rng)
    assert aim is asked[0]
    assert aim is not None
    assert aim.target is target
    assert len(aim.condition) == 4
    assert Perturbing.of(data, "train", [target], 1.0, CPU).aimed_pairs(4, rng)[2] is None


def test_an_attack_in_half_precision_gets_as_far(data: Path, target: Target) -> None:
    def distance(half: bool) -> float:
        source = Perturbing.of(data, "train", [target], 0.0, CPU, half)
        clean, perturbed, aim = source.aimed_pairs(4, torch.Generator().manual_seed(3))
        assert aim is not None
        with torch.no_grad():
            edits = [target(part * 2 - 1, aim.condition) for part in (clean, perturbed)]
        assert all(part.dtype == torch.float32 for part in (clean, perturbed))
        return float((edits[1] - edits[0]).square().mean())

    assert distance(True) > 0.5 * distance(False) > 0


@pytest.mark.parametrize(("share", "exact"), [(1.0, True), (0.0, False)])
def test_what_goes_no_way_keeps_the_change_pixel_by_pixel(
    share: float, exact: bool, data: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = 8 / 255 * torch.sign(torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)) - 0.5)
    monkeypatch.setattr(Perturbing, "_attack", lambda self, heads, aim, rng: change.expand(len(heads), -1, -1, -1))
    source = Perturbing.of(data, "train", [target], 0.0, CPU, as_they_are=share)
    clean, perturbed = source.pairs(4, torch.Generator().manual_seed(2))
    inner = (clean > 0.05) & (clean < 0.95)
    apart = ((perturbed - clean) - change).abs()[inner]
    assert bool((apart < 1e-5).all()) == exact


def test_without_targets_or_our_own_there_is_nothing_to_learn(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="need generators to be made against"):
        train_perturbation.train(data, tmp_path / "run", 1, False, "cpu")


def test_it_learns_to_tell_and_is_had_back(
    data: Path, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_perturbation, "target_of", lambda folder, pack: target)
    monkeypatch.setattr(train_perturbation, "noted", lambda folder: {"name": "stargan", "steps": 1, "settings": {}})
    monkeypatch.setattr("engines.detectors.learner.VAL_GROUPS", 4)
    monkeypatch.setattr(Run, "progress", property(lambda run: min(run.step / 40, 1.0)))
    stripes = 0.1 * torch.sign(torch.sin(torch.arange(128) / 4)).expand(1, 3, 128, 128)  # what a glance can learn
    monkeypatch.setattr(Perturbing, "_attack", lambda self, heads, aim, rng: stripes.expand(len(heads), -1, -1, -1))
    settings = train_perturbation.Settings(width=0.125, size=64, batch=16, lr=3e-3, reuse=8, own=0.0)
    run = train_perturbation.train(data, tmp_path / "run", 1, False, "cpu", settings, [tmp_path / "generator"])
    assert run.step == 40
    detector = train_perturbation.load(tmp_path / "run")
    clean, perturbed = Perturbing.of(data, "train", [target], 0.0, CPU).pairs(24, torch.Generator().manual_seed(5))

    def odds(rgb: Tensor) -> Tensor:
        logits = detector(rgb * 2 - 1)
        return logits[:, train_perturbation.PERTURBED] - logits[:, train_perturbation.CLEAN]

    assert float((odds(perturbed) > odds(clean)).float().mean()) > 0.8


def test_the_threshold_keeps_its_share_of_alarms_and_all_clips_clean() -> None:
    rng = np.random.default_rng(0)
    scores = {"8bit": rng.normal(-3, 1, 400), "jpeg75": rng.normal(-2, 1, 400)}
    draft = InputCalibration(engine="e", sha256="0" * 64, threshold=0.0)
    found, results = calibrate_inputs.calibrated(draft, scores, [], 0.01)
    shares = [results[f"false_alarms_validation_{name}"] for name in scores]
    assert max(shares) <= 0.01
    assert results["validation_people"] == 400
    loud = np.array([found.threshold + 3.0] * 3)
    filmed, results = calibrate_inputs.calibrated(draft, scores, [loud], 0.01)
    assert filmed.threshold > found.threshold + 3
    assert value(float(loud[0]), filmed) < 0.5
    assert results["clips"] == 1


def test_the_threshold_lies_a_little_above_the_last_that_must_not_alarm() -> None:
    draft = InputCalibration(engine="e", sha256="0" * 64, threshold=0.0)
    scores = {"8bit": np.arange(200.0), "jpeg75": np.arange(200.0) - 50}
    found, results = calibrate_inputs.calibrated(draft, scores, [], 0.01)
    assert found.threshold == 197 + calibrate_inputs.ROOM  # 198 and 199 may: one in a hundred
    assert (results["false_alarms_validation_8bit"], results["false_alarms_validation_jpeg75"]) == (0.01, 0.0)
    found, _ = calibrate_inputs.calibrated(draft, scores, [np.array([100.0, 300.0, 500.0])], 0.01)
    assert found.threshold == 300 + calibrate_inputs.ROOM  # a clip is judged by its middle


def test_the_strength_of_what_perturbs_is_drawn_around_what_was_made(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = SimpleNamespace(protector=lambda guards: guards + 100)
    source, rng = Perturbing(pictures, [target], 0.5), torch.Generator().manual_seed(0)  # type: ignore[arg-type]
    monkeypatch.setattr(perturbed, "_some_attack", lambda rng: lambda model, x: x + 0.1)
    heads, aim = torch.full((1, 3, 4, 4), 0.4), Aim(target, torch.zeros(1, 1))
    made = [float(source._attack(heads, aim, rng).mean()) / 0.05 for _ in range(100)]
    ours = [float((source._protected(heads, rng) - heads).mean()) * 255 / 100 for _ in range(100)]
    for found, (low, high) in ((made, (0.7, 1.2)), (ours, (0.7, 1.5))):
        assert low - 1e-4 <= min(found) < low + 0.1 < high - 0.1 < max(found) <= high + 1e-4


def test_attacks_and_ways_are_of_the_ranges_that_are_said() -> None:
    rng = torch.Generator().manual_seed(0)
    attacks, ways = [perturbed._some_attack(rng) for _ in range(200)], [perturbed._way(160, rng) for _ in range(800)]
    signs = [a for a in attacks if isinstance(a, PGD)]
    assert 70 < len(signs) < 130
    assert all(0.02 <= a.budget.epsilon <= 0.06 and 4 <= a.iterations <= 8 for a in signs)  # type: ignore[attr-defined]
    assert all(a.step * a.iterations == pytest.approx(2 * a.budget.epsilon) for a in signs)  # type: ignore[attr-defined]
    assert {a.iterations for a in attacks if isinstance(a, CarliniWagner)} == set(range(8, 15))
    assert {w.quality for w in ways if w.codec == "h264"} == set(range(18, 31))
    qualities = [w.quality for w in ways if w.codec == "jpeg"]
    assert 50 <= min(qualities) <= 52
    assert 93 <= max(qualities) <= 95
    assert 350 < sum(w.codec == "h264" for w in ways) < 450
    assert 150 < len(qualities) < 250


def test_a_group_is_mirrored_together_and_judged_by_what_was_attacked_or_by_any(target: Target) -> None:
    clean, changed = (torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8) for _ in range(2))
    attacked, other = (Aim(target, torch.zeros(4, 1)) for _ in range(2))

    def group(untouched: float, elsewhere: float, aim: Aim | None) -> train_restorer.Group:
        settings = train_restorer.Settings(untouched=untouched, elsewhere=elsewhere)
        source, rng = SimpleNamespace(aim=lambda n, rng: other), torch.Generator().manual_seed(0)
        trainer = SimpleNamespace(s=settings, source=source, rng=rng)
        return train_restorer.RestorerTrainer._group(trainer, clean, changed, aim)  # type: ignore[arg-type]

    goal, start, aim = group(0.0, 0.0, attacked)
    assert aim is attacked
    ways = set()
    for k in range(4):
        (mirrored,) = [m for m in (False, True) if torch.equal(goal[k], _signed(clean[k], m))]
        assert torch.equal(start[k], _signed(changed[k], mirrored))
        ways.add(mirrored)
    assert ways == {False, True}
    assert group(0.0, 1.0, attacked)[2] is group(0.0, 0.0, None)[2] is other
    goal, start, _ = group(1.0, 0.0, attacked)
    assert torch.equal(goal, start)


def _signed(head: Tensor, mirrored: bool) -> Tensor:
    """8 bits on [-1, 1]."""
    return (head.flip(2) if mirrored else head).float() / 127.5 - 1


def test_an_attack_that_knows_it_lowers_its_log_odds(people, target: Target) -> None:
    """The stand-in calls fine patterns perturbed, which is what the attack draws unless it evades."""

    def odds(images: Tensor) -> Tensor:
        fine = images - torch.nn.functional.avg_pool2d(images, 3, 1, 1)
        return 4000 * fine.square().mean((1, 2, 3)) - 4

    def found(evade: object) -> tuple[float, float]:
        ((_, crops),) = through_operations(people, target, [0, 1], ASKED, (8,), 0, evade)  # type: ignore[arg-type]
        images = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
        rows = torch.tensor([[0.0], [0.2]])[torch.arange(len(images)) % 2]
        reference = target(people.heads() * 2 - 1, rows)
        return float(odds(images).mean()), float((target(images, rows) - reference).square().mean())

    (loud, far), (quiet, near) = found(None), found(odds)
    assert quiet < loud - 1
    assert 0 < near < far


@pytest.mark.parametrize("half", [False, True])
def test_a_restorer_learns_to_undo_what_the_target_notices(
    half: bool, data: Path, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_restorer, "target_of", lambda folder, pack: target)
    monkeypatch.setattr(train_restorer, "noted", lambda folder: {"name": "stargan", "steps": 1, "settings": {}})
    monkeypatch.setattr(Run, "progress", property(lambda run: min(run.step / 40, 1.0)))
    stripes = 0.1 * torch.sign(torch.sin(torch.arange(128) / 4)).expand(1, 3, 128, 128)
    monkeypatch.setattr(Perturbing, "_attack", lambda self, heads, aim, rng: stripes.expand(len(heads), -1, -1, -1))
    settings = train_restorer.Settings(width=8, lr=3e-3, half=half)
    train_restorer.train(data, tmp_path / "run", 1, False, "cpu", settings, [tmp_path / "generator"])
    network = train_restorer.load(tmp_path / "run")
    clean, perturbed = Perturbing.of(data, "test", [target], 0.0, CPU).pairs(2, torch.Generator().manual_seed(5))
    restored = (network(perturbed * 2 - 1) + 1) / 2
    before, after = (float((part - clean).square().mean()) for part in (perturbed, restored))
    assert after < 0.7 * before


def test_a_restorer_begins_by_changing_nothing_and_needs_targets(data: Path, tmp_path: Path) -> None:
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    torch.testing.assert_close(Restorer(8)(image), image)
    with pytest.raises(UsageError, match="needs generators that judge it"):
        train_restorer.train(data, tmp_path / "run", 1, False, "cpu")


def test_a_wider_restorer_begins_with_the_same_answers(
    data: Path, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_restorer, "target_of", lambda folder, pack: target)
    monkeypatch.setattr(train_restorer, "noted", lambda folder: {"name": "stargan", "steps": 1, "settings": {}})
    monkeypatch.setattr(widening, "NOISE", 0.0)
    torch.manual_seed(1)
    narrow = Restorer(4).requires_grad_(False)
    torch.nn.init.normal_(narrow.head.weight, 0, 0.1)
    parts = {"net": narrow, "mean": train_restorer.averaged(narrow)}
    Run(tmp_path / "narrow", asdict(train_restorer.Settings(width=4)), 1, name="restorer").save(parts)
    start, settings = tmp_path / "narrow", train_restorer.Settings(width=8)
    train_restorer.train(data, tmp_path / "wide", 0, False, "cpu", settings, [tmp_path / "generator"], start)
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    assert float((narrow(image) - image).abs().mean()) > 0.01
    torch.testing.assert_close(train_restorer.load(tmp_path / "wide")(image), narrow(image), atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_both_are_shipped_and_had_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card is one that the runtime takes, and a run made of it holds the same network."""
    monkeypatch.setattr(shipping, "ZOO", tmp_path / "zoo")
    detector = train_perturbation.Settings(width=0.125, size=64)
    best = Best(architecture(train_perturbation.NETWORK).detector(detector.width, detector.size))
    best.published()
    Run(tmp_path / "p", asdict(detector), 0, name=train_perturbation.NAME).save({"best": best})
    settings = train_restorer.Settings(width=8)
    network = Restorer(settings.width).eval()
    nn.init.normal_(network.head.weight, std=0.01)  # an untrained one would change nothing
    Run(tmp_path / "r", asdict(settings), 0, name=train_restorer.NAME).save({"mean": train_restorer.averaged(network)})
    for name, folder, load in (
        (train_perturbation.NAME, "p", train_perturbation.load),
        (train_restorer.NAME, "r", train_restorer.load),
    ):
        card = load_card(shipping.ship(name, tmp_path / folder))
        assert (card.kind, card.default) == (name, True)
        importing.unship(card, tmp_path / f"{folder}-again")
        image = torch.rand(1, 3, card.input_shape("image")[-1], card.input_shape("image")[-1]) * 2 - 1
        first, second = (load(tmp_path / one)(image) for one in (folder, f"{folder}-again"))
        torch.testing.assert_close(first, second, atol=2e-4, rtol=0)
    before = (tmp_path / "zoo" / "restorer" / "model.onnx").read_bytes()
    with pytest.raises(UsageError, match="'restorer' in the zoo is a restorer, and this is a perturbation: give it"):
        shipping.ship(train_perturbation.NAME, tmp_path / "p", "restorer")
    assert (tmp_path / "zoo" / "restorer" / "model.onnx").read_bytes() == before
    assert shipping.ship(train_restorer.NAME, tmp_path / "r", "restorer").name == "restorer"
