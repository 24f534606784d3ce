"""MagDR's research side: fitting, attacked faces, baselines, the adaptive attack, and files that hold them."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from engines.data import pack
from engines.data.origin import DRAWN
from engines.generators.target import Target
from engines.magdr import adaptive, baselines, calibrate, faces, tables, video
from engines.magdr.adaptive import straight_through, through_operations
from engines.magdr.calibrate import read_evidence, write, write_evidence
from engines.magdr.fit import LESS, RIDGE, Asked, fit, with_thresholds
from stream_guard.errors import EngineError, UsageError
from stream_guard.magdr.calibration import Calibration, load_calibration
from stream_guard.magdr.detector import Evidence, judge, standardised
from stream_guard.magdr.operations import consistency
from stream_guard.magdr.regions import NAMES
from stream_guard.magdr.sensitivity import CHANGES
from stream_guard.magdr.views import METRICS
from stream_guard.stages.faces import FacesStage
from stream_guard.types import Box, Face, Frame
from tests.support import media

ASKED = Asked("a" * 64, "b" * 64, ("Male",), 3, 0)


def evidence(rng: np.random.Generator, loud: float) -> Evidence:
    """Distances around .1, larger by `loud` in one metric of each region, and in one of what operations change."""
    distances = rng.normal(0.1, 0.01, (1, len(NAMES), len(METRICS)))
    changes = rng.normal(0.02, 0.002, (1, ASKED.operations, len(CHANGES)))
    distances[..., 1] += loud
    changes[..., 2] += loud / 10
    counts = np.ones((1, len(NAMES)), bool)
    counts[0, 1] = False
    return Evidence(distances, changes, counts, np.zeros_like(counts))


def many(count: int, loud: float, seed: int) -> list[Evidence]:
    rng = np.random.default_rng(seed)
    return [evidence(rng, loud) for _ in range(count)]


def alone(found: list[Evidence]) -> dict[str, list[list[Evidence]]]:
    """Each face a person, all of one kind of picture."""
    return {"stills": [[one] for one in found]}


class TestFit:
    def test_it_tells_loud_faces_and_keeps_its_false_alarms(self) -> None:
        calibration = fit(ASKED, many(40, 0, 0), many(40, 0.05, 1), alone(many(60, 0, 2)))
        found = [judge(e, calibration).perturbed for e in many(50, 0.05, 3)]
        alarms = [judge(e, calibration).perturbed for e in many(200, 0, 4)]
        assert np.mean(found) > 0.95
        assert np.mean(alarms) < 0.08
        assert not any(judge(e, calibration).perturbed for e in many(60, 0, 2))

    def test_weights_find_the_metrics_that_tell_and_sum_to_one(self) -> None:
        calibration = fit(ASKED, many(40, 0, 0), many(40, 0.05, 1), alone(many(60, 0, 2)))
        regions, changes = (np.array(part.weights)[0] for part in (calibration.distortion, calibration.consistency))
        assert int(regions.sum(0).argmax()) == 1
        assert int(changes.sum(0).argmax()) == 2
        assert np.abs(regions).sum() == pytest.approx(1, abs=1e-3)
        assert np.abs(regions[1]).max() < 1e-6  # never counted, so it has learned nothing

    def test_a_few_pictures_of_one_kind_have_a_say_beside_the_many(self) -> None:
        few = [[one] for one in many(5, 0.02, 3)]
        both = alone(many(600, 0, 2)) | {"photographs": few}
        calibration = fit(ASKED, many(40, 0, 0), many(40, 0.05, 1), both)
        assert not any(judge(e, calibration).perturbed for (e,) in few)
        mixed = {"all": [*both["stills"], *few]}
        assert any(judge(e, fit(ASKED, many(40, 0, 0), many(40, 0.05, 1), mixed)).perturbed for (e,) in few)

    def test_it_is_the_ridge_regression_of_what_eq_6_and_7_weigh(self) -> None:
        """At the least of a weighted log loss its gradient is that of the ridge: found anew from what was written."""
        clean, attacked = many(30, 0, 0), many(18, 0.01, 1)
        c = fit(ASKED, clean, attacked, alone(many(20, 0, 2)))
        rows = [*clean, *attacked]
        apart = np.stack([(standardised(e.distances, c.distortion) * e.counts[..., None]).ravel() for e in rows])
        moved = np.stack([standardised(e.changes, c.consistency).ravel() for e in rows])
        features = np.concatenate([LESS * apart, moved], 1)
        loud, fragile = c.balance * c.slope, c.slope
        weights = np.r_[loud / LESS * np.ravel(c.distortion.weights), fragile * np.ravel(c.consistency.weights)]
        label = np.r_[np.zeros(30), np.ones(18)]
        share = np.r_[np.full(30, 0.5 / 30), np.full(18, 0.5 / 18)]

        def error(bias: float) -> np.ndarray:
            return share * (1 / (1 + np.exp(-(features @ weights + bias))) - label)

        bias = brentq(lambda b: float(error(b).sum()), -50, 50)
        np.testing.assert_allclose(features.T @ error(bias), -RIDGE * weights, atol=1e-4)
        assert np.abs(RIDGE * weights).max() > 1e-3

    def test_what_is_usual_is_the_middle_and_spread_of_faces_where_a_region_counts(self) -> None:
        clean = many(20, 0, 0)
        for e in clean[:13]:
            e.counts[0, 3] = False  # seven are left: too few to say anything
        for e in clean[:12]:
            e.counts[0, 4] = False
            e.distances[0, 4] *= 50
        for e in clean:
            e.distances[0, 5, 0] = 0.1  # nobody differs in this
        c = fit(ASKED, clean, many(10, 0.05, 1), alone(many(20, 0, 2)))
        middle, width = np.array(c.distortion.middle)[0], np.array(c.distortion.width)[0]
        seen = np.log([e.distances[0, 4] for e in clean[12:]])
        np.testing.assert_allclose(middle[4], np.median(seen, 0), rtol=1e-4)
        np.testing.assert_allclose(width[4], np.maximum(2 * seen.std(0), 0.1), rtol=1e-4)
        assert (middle[3] == 0).all()
        assert (width[3] == 1e3).all()
        assert width[5, 0] == 0.1
        changes = np.log([e.changes[0] for e in clean])
        np.testing.assert_allclose(np.array(c.consistency.middle)[0], np.median(changes, 0), rtol=1e-4)

    def test_thresholds_are_passed_by_the_share_of_people_that_is_allowed_by_any_face(self) -> None:
        c = fit(ASKED, many(20, 0, 0), many(20, 0.05, 1), alone(many(20, 0, 2)))
        people = [many(1 + k % 3, 0, 100 + k) for k in range(120)]
        found = with_thresholds(c, {"stills": people}, 0.02)
        for name in ("final", "distortion", "consistency"):
            limit = getattr(found, "threshold" if name == "final" else f"threshold_{name}")
            worst = sorted((max(getattr(judge(e, c), name) for e in faces) for faces in people), reverse=True)
            assert worst[1] > limit  # two of 120 may
            assert worst[2] == pytest.approx(limit - 1e-4, abs=1e-5)
        finals = [judge(e, c).final for faces in people for e in faces]
        assert found.usual == pytest.approx(float(np.median(finals)), abs=1e-5)

    def test_the_first_condition_alone_is_a_calibration_too(self) -> None:
        few = fit(ASKED, many(20, 0, 0), many(20, 0.05, 1), alone(many(20, 0, 2))).first()
        assert few.conditions == ("Male",)
        loud, calm = (judge(e, few).final for e in (many(1, 0.05, 5)[0], many(1, 0, 6)[0]))
        assert loud > calm

    def test_each_part_is_needed(self) -> None:
        with pytest.raises(UsageError, match="held-out"):
            fit(ASKED, many(4, 0, 0), many(4, 1, 1), {})

    def test_a_calibration_survives_its_file(self, tmp_path: Path) -> None:
        fitted = fit(ASKED, many(20, 0, 0), many(20, 0.05, 1), alone(many(20, 0, 2)))
        before = Calibration(
            command="c", seed=3, probes={"some-probe": fitted}, results={"some-probe": {"alarms": 0.0}}
        )
        write(before, tmp_path / "zoo" / "magdr.toml")
        assert load_calibration(tmp_path / "zoo" / "magdr.toml") == before

    @pytest.mark.parametrize(("train", "validation"), [(0, 73), (24, 0), (24, -1)])
    def test_nobody_to_calibrate_on_is_refused_before_the_file_is_touched(
        self, train: int, validation: int, tmp_path: Path
    ) -> None:
        arguments = argparse.Namespace(train=train, validation=validation, out=tmp_path / "magdr.toml")
        with pytest.raises(UsageError, match="must be 1 or more"):
            calibrate.run(arguments)

    def test_evidence_survives_its_file(self, tmp_path: Path) -> None:
        rows = many(3, 0.1, 0)
        write_evidence(rows, tmp_path / "e.npz")
        for a, b in zip(rows, read_evidence(tmp_path / "e.npz"), strict=True):
            assert np.array_equal(a.distances, b.distances)
            assert np.array_equal(a.changes, b.changes)
            assert np.array_equal(a.counts, b.counts)


class Stand:
    """A bench whose evidence says where it is from; `asked` are the questions in turn."""

    editor = argparse.Namespace(size=64)
    asked = ASKED

    def __init__(self) -> None:
        self.questions: list[str] = []

    def evidence(self, crops: np.ndarray, what: str) -> list[str]:
        self.questions.append(what)
        return [what] * len(crops)

    def attacked(self, people: faces.Split, attack: str, part: str) -> Tensor:
        return torch.zeros(len(people.names), 3, people.size, people.size)


class TestCalibrate:
    """Who has a say in what, with evidence that only tells where it is from."""

    @pytest.fixture
    def fitted(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
        seen: dict[str, list[Any]] = {}

        def fit(asked: Asked, clean: list[str], attacked: list[str], held_out: dict[str, list[tuple[str]]]) -> None:
            seen.update(clean=clean, attacked=attacked, held_out=held_out)

        monkeypatch.setattr(calibrate, "fit", fit)
        monkeypatch.setattr(calibrate, "share", lambda found, calibration: 0.0)
        monkeypatch.setattr(video, "crops", lambda path, size: np.zeros((2, size, size, 3), np.uint8))
        return seen

    def arguments(self, folder: Path, **others: Any) -> argparse.Namespace:
        from .test_parser import heads_with_masks

        wanted = {"train": 2, "clean": 5, "validation": 1, "clips": [], "seed": 0, **others}
        return argparse.Namespace(data=heads_with_masks(folder), **wanted)

    def test_nobody_is_fitted_on_and_has_a_say_in_thresholds(
        self, tmp_path: Path, fitted: dict[str, list[Any]]
    ) -> None:
        clips = [Path(f"{name}.mp4") for name in ("st_a_clip1", "st_a_clip2", "st_b_clip1", "st_b_clip_2", "lp_d0")]
        _, results = calibrate.calibrate(Stand(), self.arguments(tmp_path, clips=clips))  # type: ignore[arg-type]
        fitted_on = {e for e in fitted["clean"] if e.startswith("clip")}
        assert fitted_on == {"clip-st_a_clip1", "clip-st_a_clip2", "clip-lp_d0"}
        (others,) = fitted["held_out"]["video"]
        assert set(others) == {"clip-st_b_clip1", "clip-st_b_clip_2"}
        # One validation person, two of the five who are not attacked, and whoever is in the clips of b.
        assert (results["validation_people"], results["threshold_people"], results["clips"]) == (1, 4, 5)
        assert results["training_people"] == 2 + 3

    def test_heads_that_must_be_enlarged_are_refused(self, tmp_path: Path) -> None:
        data = self.arguments(tmp_path).data  # 96 px, of which the head takes 79
        calibrate.sharp_enough(data, 79)
        with pytest.raises(UsageError, match=r"heads of 79 px, the probe sees 80.*--size 98 or more"):
            calibrate.sharp_enough(data, 80)

    def test_too_few_validation_people_are_said_before_the_slow_attacks(
        self, tmp_path: Path, fitted: dict[str, list[Any]]
    ) -> None:
        bench = Stand()
        with pytest.raises(UsageError, match=r"heads of val; 100 were asked for"):
            calibrate.calibrate(bench, self.arguments(tmp_path, validation=100))  # type: ignore[arg-type]
        assert not bench.questions

    def test_nobody_beside_the_attacked_is_needed(self, tmp_path: Path, fitted: dict[str, list[Any]]) -> None:
        _, results = calibrate.calibrate(Stand(), self.arguments(tmp_path, clean=0))  # type: ignore[arg-type]
        assert (results["training_people"], results["threshold_people"]) == (2, 1)


class TestTables:
    def bench(self, sha256: str, condition: str) -> Any:
        cards = [argparse.Namespace(name=name, sha256=sha) for name, sha in (("p", sha256), ("parser", "b" * 64))]
        editor, parser = (argparse.Namespace(card=card, size=64) for card in cards)
        return argparse.Namespace(editor=editor, parser=parser, asked=replace(ASKED, conditions=(condition,)))

    def test_figures_are_of_the_probe_and_edits_that_were_calibrated(self, tmp_path: Path) -> None:
        fitted = fit(ASKED, many(20, 0, 0), many(20, 0.05, 1), alone(many(20, 0, 2)))
        write(Calibration(probes={"p": fitted}), tmp_path / "magdr.toml")
        arguments = argparse.Namespace(calibration=tmp_path / "magdr.toml")
        with pytest.raises(UsageError, match="calibrated for the edits Male, not for Black_Hair"):
            tables.Tables(self.bench("a" * 64, "Black_Hair"), arguments)
        with pytest.raises(EngineError, match="was not calibrated for the probe 'p'"):
            tables.Tables(self.bench("c" * 64, "Male"), arguments)

    @pytest.mark.parametrize("part", list(tables.PARTS))
    def test_a_table_names_the_networks_that_its_figures_depend_on_and_no_others(self, part: str) -> None:
        committed = json.loads((tables.RESULTS / "magdr.json").read_text())["tasks"]
        wanted = {"probe", "parser", *tables.PARTS[part]}
        for task, parts in committed.items():
            assert {key.removesuffix("_sha256") for key in parts[part] if key.endswith("_sha256")} == wanted, task


class Tint(nn.Module):
    """Adds the condition to the picture, and a bent copy of it."""

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        return torch.tanh(3 * image + condition[:, :1, None, None])


@pytest.fixture
def people() -> faces.Split:
    images = torch.rand(5, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    return faces.Split([f"p{k}" for k in range(5)], images, size=64)


@pytest.fixture
def target() -> Target:
    return Target(Tint(), "stargan", torch.tensor([[0.0], [0.4]]), ["plain", "lighter"], 64)


class TestFaces:
    @pytest.mark.parametrize("attack", list(faces.ATTACKS))
    def test_attacks_stay_in_budget_and_are_made_once(
        self, people: faces.Split, target: Target, attack: str, tmp_path: Path
    ) -> None:
        cache = tmp_path / "a.npz"
        change = faces.attacked(people, target, [0, 1], attack, 0, cache)
        assert change.shape == (5, 3, 64, 64)
        assert 0 < float(change.abs().max()) <= faces.EPSILON + 1e-3  # .1 on [-1, 1] is .05 on [0, 1]
        stamp = cache.stat().st_mtime_ns
        again = faces.attacked(people, target, [0, 1], attack, 0, cache)
        assert torch.equal(change, again)
        assert cache.stat().st_mtime_ns == stamp
        with pytest.raises(UsageError, match="other faces"):
            faces.attacked(people, target, [1], attack, 0, cache)

    def test_another_generator_seed_or_attack_makes_them_anew(
        self, people: faces.Split, target: Target, tmp_path: Path
    ) -> None:
        class Edged(Tint):
            def __init__(self, gain: float) -> None:
                super().__init__()
                self.gain = nn.Parameter(torch.tensor(gain))

            def forward(self, image: Tensor, condition: Tensor) -> Tensor:
                return super().forward(image - self.gain * image.roll(1, 3), condition)

        one, other = (Target(Edged(gain), "stargan", target.conditions, ["a", "b"], 64) for gain in (0.9, 0.0))
        cache, made = tmp_path / "a.npz", []
        for whose, attack, seed in ((one, "pgd", 0), (other, "pgd", 0), (other, "cw", 0), (other, "cw", 1)):
            made.append(faces.attacked(people, whose, [0, 1], attack, seed, cache))
            fresh = faces.attacked(people, whose, [0, 1], attack, seed, tmp_path / f"{len(made)}.npz")
            assert torch.equal(made[-1], fresh)
            with np.load(cache) as stored:
                assert f'"seed": {seed}' in str(stored["key"])
        assert not torch.equal(made[0], made[1])
        assert not torch.equal(made[1], made[2])

    def test_a_file_of_before_there_were_keys_is_read(
        self, people: faces.Split, target: Target, tmp_path: Path
    ) -> None:
        old = np.full((5, 3, 64, 64), 0.25, np.float16)
        np.savez(tmp_path / "a.npz", change=old, names=np.array(people.names), asked=np.array([0, 1]))
        assert float(faces.attacked(people, target, [0, 1], "pgd", 0, tmp_path / "a.npz").min()) == 0.25

    @pytest.mark.parametrize("channel", list(faces.CLEAN_CHANNELS))
    def test_clean_faces_arrive_as_head_crops(self, people: faces.Split, channel: str) -> None:
        crops = faces.clean(people, channel)
        assert crops.shape == (5, 64, 64, 3)
        assert np.abs(crops.astype(int) - faces.clean(people, "8bit")).mean() < 25

    def test_a_change_of_the_head_lands_in_the_head(self, people: faces.Split) -> None:
        change = torch.zeros(5, 3, 64, 64)
        change[:, :, 24:40, 24:40] = 0.2
        got = people.delivered(change, faces.CHANNELS["8bit"]).astype(int) - faces.clean(people, "8bit")
        assert got[:, 28:36, 28:36].mean() > 30
        assert abs(got[:, :16]).mean() < 2

    def test_too_many_people_are_refused(self, tmp_path: Path) -> None:
        from .test_parser import heads_with_masks

        data = heads_with_masks(tmp_path)
        assert len(faces.split(data, ["train"], 4, 0).names) == 4
        with pytest.raises(UsageError, match="were asked for"):
            faces.split(data, ["val"], 100, 0)

    def test_kinds_of_picture_take_turns_and_those_named_stay_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from .test_parser import heads_with_masks

        heads = pack.read(heads_with_masks(tmp_path), ["train"])
        heads = [replace(head, origin="rare" if k < 3 else "many") for k, head in enumerate(heads)]
        monkeypatch.setattr(faces.pack, "read", lambda path, names: heads)
        rare = [head.name for head in heads[:3]]
        found = faces.split(tmp_path, ["train"], 5, 0, evenly=True, without=rare[:1])
        assert sorted(found.kinds[:4]) == ["many", "many", "rare", "rare"]
        assert {"many", "rare"} == set(found.kinds[:2])
        assert rare[0] not in found.names
        assert faces.split(tmp_path, ["train"], 3, 0, skip=2, evenly=True, without=rare[:1]).names == found.names[2:]
        with pytest.raises(UsageError, match="were asked for"):
            faces.split(tmp_path, ["train"], len(heads), 0, without=rare[:1])

    def test_faces_that_a_network_drew_can_be_left_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from .test_parser import heads_with_masks

        data = heads_with_masks(tmp_path)
        heads = [replace(head, origin=DRAWN if k % 2 else "") for k, head in enumerate(pack.read(data, ["train"]))]
        monkeypatch.setattr(faces.pack, "read", lambda path, names: heads)
        photographs = {head.name for head in heads if head.origin != DRAWN}
        found = faces.split(data, ["train"], len(photographs), 0, photographs=True)
        assert set(found.names) == photographs
        with pytest.raises(UsageError, match="were asked for"):
            faces.split(data, ["train"], len(photographs) + 1, 0, photographs=True)


class TestAdaptive:
    def test_it_disrupts_through_the_operations_within_the_budget(self, people: faces.Split, target: Target) -> None:
        clean = people.heads()
        steps = dict(through_operations(people, target, [0, 1], ASKED, (1, 6), 0))
        assert list(steps) == [1, 6]
        rows = torch.tensor([[0.0], [0.4]])[torch.arange(5) % 2]
        reference = target(clean * 2 - 1, rows)
        apart = [
            float((target(faces.to_unit(crops) * 2 - 1, rows) - reference).square().mean()) for crops in steps.values()
        ]
        assert apart[1] > 1.2 * apart[0]
        reach = np.abs(steps[6].astype(int) - faces.to_bytes(clean)).max()
        assert reach <= round(faces.EPSILON * 127.5) + 1

    def test_each_step_draws_one_of_the_operations_or_none_and_each_face_keeps_its_edit(
        self, people: faces.Split, target: Target, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drawn, conditions = [], []

        def edit(images: Tensor, condition: Tensor) -> Tensor:
            conditions.append(condition.flatten().tolist())
            return images * 1

        monkeypatch.setattr(target, "forward", edit)
        monkeypatch.setattr(adaptive, "straight_through", lambda images, k, asked: drawn.append(k) or images)
        few = faces.Split(people.names[:3], people.guards[:3], size=16)
        list(through_operations(few, target, [0, 1], ASKED, (40,), 0))
        assert set(drawn) == {-1, *range(ASKED.operations)}
        assert all(np.allclose(row, [0.0, 0.4, 0.0]) for row in conditions)

    @pytest.mark.parametrize("k", range(ASKED.operations))
    def test_the_operation_is_the_detectors_own(self, k: int) -> None:
        crop = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        changed = straight_through(faces.to_unit(crop[None]) * 2 - 1, k, ASKED)
        assert np.array_equal(faces.to_bytes((changed + 1) / 2)[0], consistency(crop, 8, ASKED.seed)[k])

    def test_only_what_is_found_or_nearly_is_evaded(self) -> None:
        odds = torch.tensor([-adaptive.MARGIN - 0.1, -adaptive.MARGIN + 0.1, 5.0])
        images = torch.zeros(3, 3, 4, 4, requires_grad=True)
        found = adaptive._found(images, lambda images: odds + images.sum((1, 2, 3)))
        assert found.amax((1, 2, 3)).tolist() == found.amin((1, 2, 3)).tolist() == [0.0, 1.0, 1.0]

    def test_an_operation_keeps_the_gradient_of_doing_nothing(self) -> None:
        images = (torch.rand(2, 3, 32, 32) * 2 - 1).requires_grad_(True)
        changed = straight_through(images, 0, ASKED)
        assert not torch.allclose(changed, images)
        (gradient,) = torch.autograd.grad(changed.sum(), images)
        assert torch.equal(gradient, torch.ones_like(images))
        assert straight_through(images, -1, ASKED) is images


def crops(count: int, loud: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    base = 120 + 30 * np.sin(x / 9 + y / 14)[..., None] + np.zeros(3)
    return (base + rng.normal(0, 2 + loud, (count, 64, 64, 3))).clip(0, 255).astype(np.uint8)


class TestVideo:
    def test_a_clip_that_is_shown_turned_is_calibrated_upright(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Red rises from left to right as the pictures are stored; a quarter turn to the left shows it rise upwards."""

        def found(stage: FacesStage, frame: Frame) -> list[Frame]:
            return [replace(frame, faces=(Face(1, Box(130, 80, 190, 140), 0.9),), faces_known=True)]

        monkeypatch.setattr(FacesStage, "process", found)
        turn = media.Clip((320, 240), 4, audio=(), setup=lambda out, stream: stream.set_display_rotation(90))
        for name, clip, axis, sign in (("plain", media.Clip((320, 240), 4, audio=()), 1, 1), ("turned", turn, 0, -1)):
            seen = video.crops(media.write(tmp_path / f"{name}.mp4", clip), 64)
            assert seen.shape == (3, 64, 64, 3)
            slope = np.gradient(seen[..., 0].astype(float), axis=(1, 2))
            assert sign * slope[axis].mean() > 0.5
            assert abs(slope[1 - axis].mean()) < 0.2


class TestBaselines:
    def test_a_classifier_learns_noise(self) -> None:
        detect = baselines.train_classifier(crops(16, 0, 0), crops(16, 20, 1), 0)
        assert detect(crops(8, 20, 2)).min() > detect(crops(8, 0, 3)).max()

    def test_an_autoencoder_errs_more_on_what_it_never_saw(self) -> None:
        detect = baselines.reconstruction_error(baselines.train_autoencoder(crops(16, 0, 0), 0, steps=150))
        assert detect(crops(6, 30, 2)).min() > detect(crops(6, 0, 3)).max()

    def test_a_slow_machine_makes_the_same_steps_or_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = iter(range(0, 100000, 200))  # 200 seconds a look: the old bound of 40 would end after one step
        monkeypatch.setattr("engines.magdr.baselines.time.monotonic", lambda: next(clock))
        slow, again = (baselines.train_autoencoder(crops(8, 0, 0), 0, steps=6) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(slow.parameters(), again.parameters(), strict=True))
        with pytest.raises(EngineError, match=r"auto-encoder made \d+ of 800 steps in 3600 seconds"):
            baselines.train_autoencoder(crops(8, 0, 0), 0)

    def test_thresholds_allow_the_share_asked_for(self) -> None:
        values = np.arange(100.0)
        limit = baselines.threshold(lambda part: part.astype(float), [values[:50], values[50:]])
        assert (values > limit).sum() <= 1

    def test_restorers_keep_size_and_type(self) -> None:
        picture = crops(1, 5, 0)[0]
        for name, way in baselines.restorers(baselines.AutoEncoder().eval(), 0).items():
            out = way(picture)
            assert out.shape == picture.shape, name
            assert out.dtype == np.uint8, name

    def test_matrix_estimation_keeps_what_is_simple(self) -> None:
        picture = np.repeat(np.linspace(40, 220, 64)[None, :, None], 64, 0).repeat(3, 2).astype(np.uint8)
        out = baselines.matrix_estimation(picture, np.random.default_rng(0), keep=1.0, rank=1)
        assert np.abs(out.astype(int) - picture).max() <= 3

    def test_matrix_estimation_scales_up_what_it_kept(self) -> None:
        out = baselines.matrix_estimation(np.full((64, 64, 3), 190, np.uint8), np.random.default_rng(0), rank=1)
        assert abs(float(out.mean()) - 190) < 4

    def test_pixels_are_deflected_to_places_nearby(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(baselines.operations, "total_variation", lambda rgb, weight: rgb)
        rows, columns = np.mgrid[:64, :64]
        place = np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)
        out = baselines.pixel_deflection(place, np.random.default_rng(0))
        moved = np.abs(out.astype(int) - place).max(-1)
        assert moved.max() == 10
        assert 600 < (moved > 0).sum() <= 800

    def test_a_picture_is_resized_by_a_little_and_put_anywhere(self) -> None:
        rng, found = np.random.default_rng(0), []
        for _ in range(60):
            rows, columns = np.nonzero(baselines.random_resize(np.full((64, 64, 3), 200, np.uint8), rng)[..., 0])
            found.append((int(rows.min()), int(np.ptp(rows)) + 1))
            assert np.ptp(rows) == np.ptp(columns)
        assert (min(side for _, side in found), max(side for _, side in found)) == (54, 64)
        assert len({top for top, _ in found}) > 4

    def test_neighbours_count_attacked_faces_and_the_nearer_breaks_a_tie(self) -> None:
        class Angles:
            """A crop's feature is a direction: its level as an angle."""

            def views(self, images: np.ndarray) -> argparse.Namespace:
                angle = images.mean((1, 2, 3)).astype(np.float64)
                deep = np.stack([np.cos(angle), np.sin(angle)], 1)[..., None, None]
                return argparse.Namespace(features={"deep": deep})

        def level(*values: int) -> np.ndarray:
            return np.stack([np.full((4, 4, 3), value, np.uint8) for value in values])

        detect = baselines.neighbours(Angles(), level(0, 10, 20, 30), level(200, 210, 220), k=3)  # type: ignore[arg-type]
        quiet, nearer, between, loud = detect(level(5, 25, 120, 215))
        assert 0.0 > nearer > quiet > -0.01 * 3
        assert between == pytest.approx(2 / 3, abs=0.01)
        assert 1.0 < loud < 1.01
