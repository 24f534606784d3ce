"""Training, calibration and measuring of detectors, on drawn heads and an easy fake."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from engines import card_words
from engines.__main__ import main
from engines.detectors import command, deepfakes, degrade, learner, measure, train_detector
from engines.detectors.blending import FAINTEST, faint, self_blended
from engines.detectors.calibration import calibration_error, temperature
from engines.detectors.detector import FAKE, REAL
from engines.detectors.pictures import Pictures, edited
from engines.detectors.registry import TRAINERS, detector_of, trainer
from engines.generators import train_stargan as stargan
from engines.training import Run, stored
from stream_guard.errors import EngineError, UsageError
from tests.support.packs import blocks, with_deepfakes
from tests.support.targets import tinted


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return with_deepfakes(tmp_path_factory.mktemp("pack"))


@pytest.fixture(autouse=True)
def a_short_look(monkeypatch):
    monkeypatch.setattr(learner, "VAL_GROUPS", 3)


@pytest.fixture(autouse=True)
def two_steps_a_call(monkeypatch):
    """A call of some minutes lasts two steps, however slow the machine."""
    first: dict[int, int] = {}

    def progress(run):
        return 1.0 if run.minutes <= 0 else min((run.step - first.setdefault(id(run), run.step)) / 2, 1.0)

    monkeypatch.setattr(Run, "progress", property(progress))


@pytest.fixture(scope="module")
def generator(data, tmp_path_factory):
    """The run folder of a generator that was hardly trained."""
    out = tmp_path_factory.mktemp("runs") / "stargan-x"
    torch.manual_seed(0)
    masked = stargan.Settings(conv_dim=4, size=64, batch=1, adversary_dim=4)
    network = stargan.Generator(masked.conv_dim)
    run = Run(out, asdict(masked), 0.0, name="stargan")
    run.save({"g": network})
    return out


@pytest.mark.parametrize("half", [False, True])
def test_a_detector_learns_an_easy_fake_and_is_calibrated(data, half):
    settings = train_detector.Settings(0.25, 64, 16, lr=3e-3, reuse=1, half=half, deepfakes=0.0, blended=0.0)
    torch.manual_seed(0)
    own = train_detector.DetectorTrainer("resnet18", settings, data, [tinted()], torch.device("cpu"))
    own.ready()
    before = own.look(0)
    for _ in range(16):
        own.step()
    assert own.look(16) < before
    assert own.best.step == 16
    before = [value.clone() for value in own.best.detector.network.parameters()]
    own.calibrate()
    moved = [not torch.equal(a, b) for a, b in zip(before, own.best.detector.network.parameters(), strict=True)]
    assert sum(moved) == 1, "the threshold is moved to .5 in one bias"
    real, fake = measure.heads_and_fakes(Pictures(data, ["test"], torch.device("cpu")), tinted())
    found = measure.against(own.best.detector, real, fake, measure.scored(own.best.detector, real, fake))
    assert found["by_delivery"]["8 bits"]["auroc"] == 1.0
    assert found["by_delivery"]["h264 crf 30"]["reals"] == 4
    assert set(found["passed_by_change"]) == set(measure.PROBES)


def test_a_run_resumes_is_loaded_and_reported(data, generator, tmp_path):
    kind = TRAINERS["resnet18"]
    settings = kind.Settings(width=0.125, size=64, batch=8)
    run = kind.train(data, tmp_path / "r", 1.0, False, "cpu", settings, [generator])
    more = kind.train(data, tmp_path / "r", 1.0, True, "cpu", settings, [generator])
    assert (run.step, more.step) == (2, 4)
    detector = detector_of(tmp_path / "r")
    assert not detector.training
    assert detector.size == 64
    assert 0.05 <= detector.temperature <= 20
    made = measure.report([tmp_path / "r"], data, [generator])
    row = json.loads(json.dumps(made))["rows"][0]
    assert row["trained_on"] == ["stargan-x"]
    assert row["fakes"][0]["seen"] is True
    found = torch.load(tmp_path / "r" / "state.pt", weights_only=True)
    torch.save({**found, "notes": json.dumps([{"imported": {}}])}, tmp_path / "r" / "state.pt")
    assert measure.report([tmp_path / "r"], data, [generator], faces=1)["rows"][0]["fakes"][0]["seen"] is None
    torch.save(found, tmp_path / "r" / "state.pt")
    assert {clip["split"] for clip in row["deepfake_videos"]} == {"train", "test"}
    with pytest.raises(UsageError, match="batch was 8, now 32"):
        kind.train(data, tmp_path / "r", 0.0, True, "cpu", kind.Settings(width=0.125, size=64), [generator])


def test_what_a_detector_needs_is_said(data, generator, tmp_path):
    kind = trainer("resnet18")
    with pytest.raises(UsageError, match="--fakes"):
        kind.train(data, tmp_path, 0.0, False, "cpu")
    with pytest.raises(UsageError, match="multiple"):
        kind.train(data, tmp_path, 0.0, False, "cpu", kind.Settings(batch=12), [generator])
    with pytest.raises(UsageError, match="reuse=0"):
        kind.train(data, tmp_path, 0.0, False, "cpu", kind.Settings(reuse=0), [generator])
    with pytest.raises(UsageError, match="resnet50"):
        trainer("resnet51")


def _poisoned(own):
    return torch.full((8, 3, 64, 64), float("nan")), torch.tensor([REAL] * 4 + [FAKE] * 4)


def test_nan_stops_and_keeps_the_last_good_checkpoint(data, generator, tmp_path, monkeypatch):
    kind = trainer("resnet18")
    settings = kind.Settings(width=0.125, size=64, batch=8)
    kind.train(data, tmp_path / "r", 0.0, False, "cpu", settings, [generator])
    before = (tmp_path / "r" / "state.pt").read_bytes()
    monkeypatch.setattr(train_detector.DetectorTrainer, "batch", _poisoned)
    with pytest.raises(EngineError, match="last good checkpoint"):
        kind.train(data, tmp_path / "r", 1.0, True, "cpu", settings, [generator])
    assert (tmp_path / "r" / "state.pt").read_bytes() == before


def test_held_out_deepfakes_are_not_trained_on(data):
    names = {clip.name: clip.split for clip in deepfakes.read(data)}
    assert names == {
        "c23_videos_519_515": "train",
        "c23_videos_519": "train",
        "other_fake": "test",
        "other": "test",
    }
    pictures = Pictures(data, ["train"], torch.device("cpu"))
    assert [len(part) for part in pictures.deepfakes] == [2, 2]


def test_a_pack_without_deepfakes_has_none(tmp_path, data):
    with np.load(data) as found:
        rest = {k: found[k] for k in found.files if not k.startswith("deepfake_")}
    with (tmp_path / "plain.pack").open("wb") as file:
        np.savez(file, **rest)
    assert deepfakes.read(tmp_path / "plain.pack") == []
    pictures = Pictures(tmp_path / "plain.pack", ["val"], torch.device("cpu"))
    assert pictures.deepfake_pairs(2, 64, torch.Generator().manual_seed(0)) is None


def test_reals_and_fakes_go_the_same_way():
    """The degradation of a picture does not depend on its place in the batch by label: same rng, same path for all."""
    x = torch.rand(1, 3, 64, 64).expand(8, -1, -1, -1)
    out = degrade.degrade(x, 48, torch.Generator().manual_seed(3))
    assert out.shape == (8, 3, 48, 48)
    assert out.min() >= -1
    assert out.max() <= 1
    way = degrade.random_path(torch.Generator().manual_seed(5))
    assert way == degrade.random_path(torch.Generator().manual_seed(5))
    same = way(torch.rand(1, 3, 64, 64).expand(2, -1, -1, -1))
    assert same.shape[-1] == way.side


def test_little_light_darkens_each_picture_by_its_own_share():
    x = torch.full((64, 3, 32, 32), 0.8)
    made = degrade.dimmed(x, torch.Generator().manual_seed(0))
    kept = made.mean((1, 2, 3)) / 0.8
    assert made.min() >= 0
    assert kept.min() > 0.9 * degrade.DARKEST
    assert kept.max() < 1.1 * degrade.DIM
    assert kept.std() > 0.1
    assert (made.std((1, 2, 3)) < 1.1 * degrade.GRAIN).all()


def test_grain_leaves_the_light_as_it_is_and_each_picture_has_its_own():
    x = torch.full((64, 3, 32, 32), 0.5)
    made = degrade.grainy(x, torch.Generator().manual_seed(0))
    spread = made.std((1, 2, 3))
    assert (made.mean((1, 2, 3)) - 0.5).abs().max() < 0.002
    assert spread.max() < 1.1 * degrade.GRAIN
    assert spread.min() < 0.2 * degrade.GRAIN
    assert spread.max() > 0.8 * degrade.GRAIN


def test_groups_are_dark_or_grainy_as_often_as_asked(data):
    for dark, grain in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.25, 0.5)):
        settings = TRAINERS["resnet18"].Settings(width=0.125, size=64, dark=dark, grain=grain)
        own = train_detector.DetectorTrainer("resnet18", settings, data, [tinted()], torch.device("cpu"))
        found = [own.light(own.rng) for _ in range(200)]
        assert found.count(degrade.dimmed) / 200 == pytest.approx(dark, abs=0.1)
        assert found.count(degrade.grainy) / 200 == pytest.approx(grain, abs=0.1)


def test_more_than_all_groups_cannot_be_dark_or_grainy(data, generator, tmp_path):
    kind = TRAINERS["resnet18"]
    with pytest.raises(UsageError, match=r"dark=0.75 and grain=0.5: no group is both"):
        kind.train(data, tmp_path / "no", 1.0, False, "cpu", kind.Settings(dark=0.75, grain=0.5), [generator])


def test_a_teacher_is_a_part_of_the_labels_but_of_dark_and_grainy_pictures(data, generator, tmp_path):
    kind = TRAINERS["resnet18"]
    slim = {"width": 0.125, "size": 64, "batch": 8, "deepfakes": 0.0, "blended": 0.0}
    kind.train(data, tmp_path / "old", 1.0, False, "cpu", kind.Settings(**slim), [generator])
    teacher = detector_of(tmp_path / "old")
    for light in ({}, {"dark": 1.0}, {"grain": 1.0}):
        settings = kind.Settings(**slim, **light, taught=0.25)
        own = train_detector.DetectorTrainer("resnet18", settings, data, [tinted()], torch.device("cpu"))
        own.teacher = teacher
        pictures, labels = own.made()
        certain = torch.tensor([[0.0, 1.0]] * 4 + [[1.0, 0.0]] * 4)
        expected = certain if light else 0.75 * certain + 0.25 * teacher(pictures).softmax(1)
        torch.testing.assert_close(labels, expected)
        assert (pictures.mean() < -0.3) == ("dark" in light)
        assert own.step()["loss"] > 0
    kind.train(data, tmp_path / "new", 1.0, False, "cpu", kind.Settings(**slim), [generator], (), tmp_path / "old")
    found = stored(tmp_path / "new")
    assert found.notes[-1]["teacher"]["old"]["steps"] == 2
    assert "--teacher runs/old" in card_words.command(kind.Settings(), found)


def test_the_last_weights_count_where_that_is_asked(data, generator, tmp_path, monkeypatch):
    kind, losses = TRAINERS["resnet18"], iter(range(100))

    def worse(own: learner.Learner, step: int) -> float:
        loss = float(next(losses))
        own.best.offer(own.mean.module, loss, step)
        return loss

    monkeypatch.setattr(learner.Learner, "look", worse)
    for last in (False, True):
        out = tmp_path / f"last {last}"
        settings = kind.Settings(width=0.125, size=64, batch=8, deepfakes=0.0, blended=0.0, last=last)
        kind.train(data, out, 1.0, False, "cpu", settings, [generator])
        found = stored(out)
        assert found.parts["best"]["calibrated"]
        assert (found.parts["best"]["step"] == found.step) == last


def test_a_picture_is_made_as_soft_as_another_and_no_softer():
    sharp = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    other = torch.stack([degrade.blur(sharp[:1], 1.6)[0], sharp[1], torch.zeros(3, 64, 64)])
    made = degrade.as_soft_as(sharp, other)
    detail = degrade.detail(made)
    assert detail[0] <= degrade.detail(other)[0]
    assert detail[0] > 0.5 * degrade.detail(other)[0]
    assert torch.equal(made[1], sharp[1])
    assert torch.equal(made[2], degrade.blur(sharp, degrade.SOFTENING[-1])[2])  # it does what it can


def test_pairs_are_the_same_crops(data):
    pictures = Pictures(data, ["train"], torch.device("cpu"))
    made = pictures.pairs(3, tinted(), torch.Generator().manual_seed(0))
    expected = edited(tinted(), made[:3], torch.zeros(3, 1))
    assert torch.equal(made[3:], expected)


def test_a_blended_face_differs_only_inside():
    rgb = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    made = self_blended(rgb, torch.Generator().manual_seed(1))
    change = (made - rgb).abs().amax(1)
    assert change[:, :3].max() < 0.01
    assert (change[:, 24:40, 24:40].mean((1, 2)) > 0.02).all()


def test_a_faint_fake_lies_between_its_original_and_itself():
    real, fake = torch.zeros(64, 3, 32, 32), torch.ones(64, 3, 32, 32)
    made = faint(real, fake, torch.Generator().manual_seed(0))
    assert made.min() >= 0
    assert made.max() <= 1
    assert torch.equal(made, (made * 255).round() / 255)
    whole = [k for k in range(64) if made[k].std() < 1e-6]
    assert 16 < len(whole) < 48, "about half are changed alike all over, the others in one place"
    amounts = made[whole].mean((1, 2, 3))
    assert amounts.min() >= FAINTEST - 0.005
    assert amounts.max() - amounts.min() > 0.3
    inside = [k for k in range(64) if k not in whole]
    assert (made[inside, :, 16, 14:18].mean((1, 2)) > 0.1).all()
    assert made[inside, :, :2].max() < 0.02
    same = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)).mul(255).round() / 255
    assert torch.equal(faint(same, same, torch.Generator().manual_seed(2)), same)


def test_a_detector_with_a_residue_is_trained_by_name_and_begins_with_a_plain_one(data, generator, tmp_path):
    plain = TRAINERS["resnet18"].Settings(width=0.125, size=64, batch=8)
    TRAINERS["resnet18"].train(data, tmp_path / "plain", 1.0, False, "cpu", plain, [generator])
    kind = TRAINERS["resnet18_residue"]
    settings = kind.Settings(width=0.125, size=64, batch=8, faint=1.0)
    kind.train(data, tmp_path / "r", 1.0, False, "cpu", settings, [generator], [tmp_path / "plain"])
    found = detector_of(tmp_path / "r")
    assert hasattr(found.network, "residue")
    assert list(stored(tmp_path / "r").notes[0]["start"]) == ["plain"]


def test_temperature_undoes_overconfidence():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(20000, generator=generator)
    labels = (torch.rand(20000, generator=generator) < p).long()
    logits = torch.stack([torch.zeros_like(p), torch.logit(p)], 1)
    assert temperature(logits * 3, labels) == pytest.approx(3, rel=0.05)
    over = (logits * 3).softmax(1)[:, REAL]
    assert calibration_error(over, labels == REAL) > 0.05
    assert calibration_error(p, labels == REAL) < 0.01
    assert (FAKE, REAL) == (0, 1)


def test_figures_count_real_as_positive():
    real, fake = np.array([0.9, 0.8, 0.7, 0.2]), np.array([0.1, 0.1, 0.6, 0.3])
    found = measure.figures(real, fake)
    assert found["precision"] == 0.75
    assert found["recall"] == 0.75
    assert found["f1"] == 0.75
    assert found["fakes_passed"] == 0.25
    assert found["auroc"] == pytest.approx(14 / 16)
    assert measure.auroc(np.ones(3), np.ones(3)) == 0.5


def test_people_who_come_several_times_count_once_in_the_interval():
    real, fake = np.array([0.9] * 30 + [0.1] * 10), np.array([0.1] * 36 + [0.9] * 4)
    once, thrice = measure.figures(real, fake), measure.figures(np.tile(real, 3), np.tile(fake, 3), people=40)
    assert thrice["accuracy"] == once["accuracy"]
    assert thrice["accuracy_ci95"] == pytest.approx(once["accuracy_ci95"], abs=0.01)


def test_frames_of_real_deepfakes(shared, tmp_path):
    from engines.data.detect import still_detector

    folder = tmp_path / "clips" / "fake_originals"
    folder.mkdir(parents=True)
    name = "c23_videos_634.mp4"
    (folder / name).symlink_to(shared / "media" / "clips" / "fake_originals" / name)
    found = deepfakes.collect(tmp_path / "clips", still_detector(), count=2)
    assert found["deepfake_names"].tolist() == ["c23_videos_634"]
    assert found["deepfake_fake"].tolist() == [0]
    assert len(found["deepfake_of"]) == 2
    with pytest.raises(EngineError, match="no clip with a face"):
        deepfakes.collect(tmp_path / "nothing", still_detector())
    (clip,) = deepfakes.real_videos([folder], still_detector(), count=2)
    assert (clip.name, clip.fake, clip.split, len(clip.frames)) == ("c23_videos_634", False, "test", 2)
    with pytest.raises(EngineError, match="no folder of clips"):
        deepfakes.real_videos([tmp_path / "nothing"], still_detector())
    with pytest.raises(EngineError, match="no video with a face"):
        deepfakes.real_videos([tmp_path], still_detector())


def test_real_videos_are_protected_too_where_their_faces_are_judged(data):
    frames = np.stack([blocks(k)[:192, :192] for k in range(3)])
    clips = [deepfakes.DeepfakeClip(name, False, frames, px) for name, px in (("large", 120), ("small", 60))]
    found = measure.protected_pairs(Pictures(data, ["test"], torch.device("cpu")), 2, clips)
    assert set(found) == {"stills", "frames of real videos"}
    before, after = found["frames of real videos"]
    assert before.shape == after.shape == (3, 3, 128, 128)
    assert bool((before != after).any())
    assert "frames of real videos" not in measure.protected_pairs(Pictures(data, ["test"], torch.device("cpu")), 2)


def test_fakes_are_protected_afterwards_in_their_place(data):
    pictures = Pictures(data, ["test"], torch.device("cpu"))
    before, after = measure.laundered_pairs(pictures, tinted(), 2)
    assert before.shape == after.shape == (2, 3, 128, 128)
    changed = (after - before).abs()
    assert 0 < float(changed.mean()) < 0.05  # protected, and still the edit
    assert float(before[:, 1:].mean()) < 0.8 * float(before[:, 0].mean())  # the tint is there
    real, fake = pictures.laundered_pairs(3, tinted(), torch.Generator().manual_seed(0)).chunk(2)
    assert float(fake[:, 1].mean()) < 0.8 * float(real[:, 1].mean())
    assert float((fake[:, 0] - real[:, 0]).abs().mean()) < 0.05  # the same crops


def test_the_figures_go_into_the_card_of_that_very_run(data, generator, tmp_path):
    kind, out = trainer("resnet18"), tmp_path / "figures.json"
    settings = kind.Settings(width=0.125, size=64, batch=8)
    kind.train(data, tmp_path / "r", 0.0, False, "cpu", settings, [generator])
    argv = ["evaluate", "detectors", "--detectors", tmp_path / "r", "--fakes", generator, "--data", data]
    assert main([*map(str, argv), "--faces", "2", "--device", "cpu", "--out", str(out)]) == 0
    made = json.loads(out.read_text())
    assert made["people"] == 2
    assert str(tmp_path) not in out.read_text()
    found = command.measured(tmp_path / "r", out)
    assert "auroc_stargan-x_crf23" in found
    assert 0 <= found["protected_stills_passed_as_real_crf23"] <= 1
    kinds = {part["of"]: part for part in made["rows"][0]["protection"]}
    assert kinds["stills"]["count"] == 2
    assert kinds["fakes of stargan-x"]["count"] == 2
    assert set(kinds["stills"]["passed_as_real"]["8 bits"]) >= {"unprotected", "protected", "difference_points"}
    kind.train(data, tmp_path / "s", 0.0, False, "cpu", settings, [generator])
    assert command.measured(tmp_path / "s", out) == {}
    assert command.measured(tmp_path / "r", tmp_path / "none.json") == {}
