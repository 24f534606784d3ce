"""MagDR's research side: fitting, who has a say in a calibration, what a table names, clips, and their files."""

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
from torch import Tensor

from engines.magdr import calibrate, faces, tables, video
from engines.magdr.calibrate import read_evidence, write, write_evidence
from engines.magdr.fit import LESS, RIDGE, Asked, fit, with_thresholds
from stream_guard.errors import EngineError, UsageError
from stream_guard.magdr.calibration import Calibration, load_calibration
from stream_guard.magdr.detector import Evidence, judge, standardised
from stream_guard.magdr.regions import NAMES
from stream_guard.magdr.sensitivity import CHANGES
from stream_guard.magdr.views import METRICS
from stream_guard.stages.faces import FacesStage
from stream_guard.types import Box, Face, Frame
from tests.support import media
from tests.support.targets import ASKED


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
        from tests.support.packs import heads_with_masks

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
