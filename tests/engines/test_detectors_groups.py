"""What a detector learns from and is judged on: whose faces, in which order, how softened, how averaged."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engines.data import pack
from engines.detectors import degrade, measure, train_detector
from engines.detectors.detector import FAKE, REAL, Detector
from engines.detectors.learner import MEAN, Best, running_mean
from engines.detectors.pictures import Pictures, heads_and_fakes
from engines.generators.target import Target
from tests.support.packs import with_deepfakes
from tests.support.targets import tinted

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return with_deepfakes(tmp_path_factory.mktemp("pack"))


def learner_of(path: Path, **changes: float) -> train_detector.DetectorTrainer:
    settings = train_detector.Settings(width=0.125, size=64, batch=8, reuse=1, **changes)
    return train_detector.DetectorTrainer("resnet18", settings, path, [tinted()], CPU)


def test_one_split_is_learned_from_and_another_judges_without_what_only_trains(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = learner_of(data, deepfakes=0.3, blended=0.2, protected=0.25)
    assert {pack.split_of(name) for name in own.pictures.names} == {"train"}
    assert {pack.split_of(name) for name in own.others.names} == {"val"}
    asked: list[tuple[object, ...]] = []

    def group(pictures: Pictures, rng: torch.Generator, *shares: object) -> tuple[Tensor, Tensor]:
        asked.append((pictures, *shares))
        return torch.zeros(2, 3, 64, 64), torch.tensor([REAL, FAKE])

    monkeypatch.setattr(own, "group", group)
    own.made()
    own.held_out(torch.Generator())
    assert asked == [(own.pictures, 0.3, 0.2, 0.25, None), (own.others, 0.0, 0.0, 0.0, None)]


def test_the_threshold_is_set_on_people_that_were_not_learned_from(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, asked, thresholds = learner_of(data), [], []

    def pairs(pictures: Pictures, target: Target, faces: int) -> tuple[Tensor, Tensor]:
        asked.append(pictures)
        return torch.ones(2, 3, 64, 64), torch.zeros(3, 3, 64, 64)

    def equal_error(reals: Tensor, fakes: Tensor) -> float:
        thresholds.append((len(reals), len(fakes)))
        return 0.0

    monkeypatch.setattr(train_detector, "heads_and_fakes", pairs)
    monkeypatch.setattr(train_detector.operating, "equal_error", equal_error)
    own.val = [(torch.zeros(2, 3, 64, 64), torch.tensor([REAL, FAKE]))]
    own.calibrate()
    assert asked == [own.others]
    assert thresholds == [(2 * len(train_detector.WAYS), 3 * len(train_detector.WAYS))]


def test_the_temperature_is_fitted_in_full_light(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group: tuple[Tensor, Tensor] = (torch.zeros(2, 3, 64, 64), torch.tensor([REAL, FAKE]))
    plain = learner_of(data)
    plain.val = [group]
    assert plain.usual() is plain.val
    own, asked = learner_of(data, dark=0.5, grain=0.5), []

    def made(*arguments: object) -> tuple[Tensor, Tensor]:
        asked.append(arguments[:1] + arguments[2:])
        return group

    monkeypatch.setattr(own, "group", made)
    assert len(own.usual()) == train_detector.learner.VAL_GROUPS
    assert set(asked) == {(own.others, 0.0, 0.0, 0.0)}

    def fitted(logits: Tensor, labels: Tensor) -> float:
        return float(len(labels))

    monkeypatch.setattr(train_detector.learner, "temperature", fitted)
    own.val = [group]
    train_detector.learner.Learner.calibrate(own)
    assert float(own.best.detector.temperature) == 2.0 * train_detector.learner.VAL_GROUPS


@pytest.mark.parametrize("changes", [{"deepfakes": 1.0}, {"blended": 1.0, "deepfakes": 0.0}, {"deepfakes": 0.0}])
def test_reals_come_first_in_every_kind_of_group(
    data: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, float]
) -> None:
    """The original, the head as it is and the unedited crop are called real, whatever makes the fake."""
    monkeypatch.setattr(train_detector, "degrade", lambda rgb, size, rng: rgb)
    monkeypatch.setattr(train_detector, "self_blended", lambda rgb, rng: 0 * rgb)
    own = learner_of(data, matched=0.0, **changes)
    own.pictures.deepfakes = [torch.full((2, 3, 192, 192), level, dtype=torch.uint8) for level in (200, 0)]
    rgb, labels = own.made()
    assert labels.tolist() == [REAL] * 4 + [FAKE] * 4
    assert (rgb[:4, 1].mean((1, 2)) > rgb[4:, 1].mean((1, 2)) + 0.05).all()


def test_stills_of_each_origin_come_as_often_where_that_is_asked(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack may have three times as many of one kind: the few were hardly learned."""
    heads = pack.read(data, ["train"])
    rows = [replace(heads[0], origin="few"), *(replace(heads[0], origin="many") for _ in range(9))]
    monkeypatch.setattr(pack, "read", lambda *_: rows)
    drawn = [
        Pictures(data, ["train"], CPU, even).random_stills(4000, torch.Generator().manual_seed(0))
        for even in (False, True)
    ]
    assert [float((found == 0).float().mean()) for found in drawn] == pytest.approx([0.1, 0.5], abs=0.03)
    assert set(drawn[1].tolist()) == set(range(10))
    own = learner_of(data, even=True)
    assert own.pictures.chances is not None
    assert own.others.chances is not None


def test_an_original_is_no_deepfake(data: Path) -> None:
    """Of the pack's clips those of the first part are originals: no label may be the other way about."""
    from engines.detectors import deepfakes

    found = {clip.name: clip.frames for clip in deepfakes.read(data)}
    pictures = Pictures(data, ["train"], CPU)
    assert pictures.deepfakes is not None
    for part, name in zip(pictures.deepfakes, ("c23_videos_519", "c23_videos_519_515"), strict=True):
        assert np.array_equal(part.permute(0, 2, 3, 1).numpy(), found[name])


def test_a_third_is_blurred_a_third_is_sharpened_and_the_rest_is_left() -> None:
    rgb = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    made = degrade.sharpness(rgb.expand(600, -1, -1, -1), torch.Generator().manual_seed(1))
    before, after = degrade.detail(rgb), degrade.detail(made)
    softer, sharper = (after < before - 1e-5).float().mean(), (after > before + 1e-5).float().mean()
    assert softer == pytest.approx(1 / 3, abs=0.06)
    assert sharper == pytest.approx(1 / 3, abs=0.06)
    assert torch.equal(made[(after - before).abs() <= 1e-5][0], rgb[0])


def test_the_ways_that_pictures_come_are_as_wide_as_they_say() -> None:
    rng = torch.Generator().manual_seed(0)
    drawn = [degrade.random_path(rng) for _ in range(1500)]
    by = {codec: [way.quality for way in drawn if way.codec == codec] for codec in ("h264", "jpeg", "none")}
    assert [len(by[codec]) / 1500 for codec in by] == pytest.approx([0.5, 0.25, 0.25], abs=0.04)
    assert (min(by["h264"]), max(by["h264"])) == (18, 34)
    assert (min(by["jpeg"]), max(by["jpeg"])) == (40, 95)
    sides = [way.side for way in drawn]
    assert (min(sides), max(sides)) == (56, 256)
    assert not any(side % 2 for side in sides)


def test_colours_change_by_a_fifth_at_most_and_by_channel() -> None:
    gray = torch.full((500, 3, 2, 2), 0.75)
    made = degrade.gains(gray, torch.Generator().manual_seed(0))[:, :, 0, 0]
    assert 0.08 < (made.mean(1) - 0.75).abs().max() <= 0.25 * 0.26 + 0.1 + 1e-6
    assert 0.02 < (made.amax(1) - made.amin(1)).max() <= 0.25 * 0.12 + 1e-6


def test_a_blur_is_a_gaussian_of_its_sigma() -> None:
    point = torch.zeros(1, 3, 41, 41)
    point[..., 20, 20] = 1
    spread = degrade.blur(point, 2.0)[0, 1]
    at = torch.arange(41.0) - 20
    assert float(spread.sum()) == pytest.approx(1, abs=1e-5)
    for axis in (0, 1):
        assert float((spread.sum(axis) * at.square()).sum()) == pytest.approx(4, rel=0.1)
    assert torch.allclose(degrade.blur(torch.full((1, 3, 8, 8), 0.4), 3.0), torch.full((1, 3, 8, 8), 0.4))


def test_the_running_mean_is_of_all_at_first_and_of_the_last_ones_later() -> None:
    mean, current = torch.zeros(1), torch.ones(1)
    assert float(running_mean(mean, current, 0)) == pytest.approx(0.9)
    assert float(running_mean(mean, current, 10**6)) == pytest.approx(1 - MEAN)
    assert int(running_mean(torch.tensor(3), torch.tensor(9), 5)) == 9


def test_the_best_are_those_of_the_least_loss() -> None:
    one, other = (Detector(nn.Linear(1, 2), "toy", 1) for _ in range(2))
    best = Best(one)
    assert best.loss == math.inf
    best.offer(one, 0.5, 1)
    best.offer(other, 0.6, 2)
    assert (best.step, best.loss) == (1, 0.5)
    best.offer(other, 0.4, 3)
    assert best.step == 3
    assert torch.equal(best.detector.network.weight, other.network.weight)


class Asked(nn.Module):
    """Leaves the picture but for a corner that says what it was asked for."""

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        image = image.clone()
        image[:, :, 0, 0] = condition
        return image


def test_person_n_is_edited_with_condition_n_modulo_k(data: Path) -> None:
    rows = torch.tensor([[-1.0], [0.0], [1.0]])
    real, fake = heads_and_fakes(Pictures(data, ["test"], CPU), Target(Asked(), "x", rows, list("abc"), 64))
    assert fake[:, 0, 0, 0].tolist() == pytest.approx([0.0, 0.5, 1.0, 0.0], abs=0.01)
    assert float((fake - real)[..., 1:, :].abs().max()) <= 0.5 / 255 + 1e-6


class Bright(nn.Module):
    """Calls a picture real by its brightness."""

    def forward(self, image: Tensor) -> Tensor:
        score = 9 * image.mean((1, 2, 3))
        return torch.stack([-score, score], 1)


def test_what_protection_changes_is_protected_less_unprotected() -> None:
    levels = torch.tensor([0.2, 0.3, 0.8, 0.9])[:, None, None, None].expand(4, 3, 64, 64)
    after = levels.clone()
    after[0], after[2], after[1] = 0.7, 0.1, 0.9
    made = measure.of_protected(Detector(Bright(), "toy", 64), "toys", levels, after)["passed_as_real"]["8 bits"]
    assert made == {"unprotected": 0.5, "protected": 0.75, "difference_points": 25.0, "answers_that_differ": 0.75}


def test_all_generators_weigh_alike_in_what_is_told_of_them_together() -> None:
    bright, dark = torch.full((4, 3, 64, 64), 0.9), torch.full((4, 3, 64, 64), 0.1)
    half = torch.cat([bright[:2], dark[:2]])
    detector = Detector(Bright(), "toy", 64)
    scores = {"a": measure.scored(detector, bright, dark), "b": measure.scored(detector, bright, half)}
    made = measure.together(scores)
    assert made["generators"] == ["a", "b"]
    assert list(made["by_delivery"]) == list(measure.DELIVERIES)
    for found in made["by_delivery"].values():
        assert (found["recall"], found["fakes_passed"], found["reals"]) == (1.0, 0.25, 8)
