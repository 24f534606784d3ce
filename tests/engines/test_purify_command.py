"""The offline second opinion: faces as the runtime follows them, an answer before and after, as JSON."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engines import importing
from engines.__main__ import parser
from engines.detectors.degrade import resize
from engines.detectors.detector import Detector
from engines.evaluation import second_opinion
from engines.purification import command, opinions, tracks
from engines.purification.judges import Asked, asked
from engines.purification.opinions import Limits
from engines.purification.prior import Fixed, Purified, Settings
from engines.purification.tracks import KEPT, Track, collect
from stream_guard.errors import EngineError, StreamGuardError, UnknownNameError, UsageError
from stream_guard.inference import choose_engine, find_engine
from stream_guard.media.synthesis import write_clip
from stream_guard.stages.classifier import open_classifier
from stream_guard.types import Box, Face
from tests.support.scenes import face_at, frames
from tests.support.turned import MATRICES, stored_box, turned_picture

QUICK = Settings(channels=(4, 4), skips=(0, 0), depth=2, iterations=8, every=2)


class Bright(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([-x.mean((1, 2, 3)), x.mean((1, 2, 3))], 1)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "in.mp4"
    pictures = [f.picture.to_ndarray(format="rgb24") for f in frames(17, lambda k: [(100, 60)], size=(320, 256))]
    write_clip(path, pictures, width=320, height=256, rate=25, loudness=lambda t: 0.0)
    return path


def test_a_face_is_cut_out_every_few_pictures(video: Path) -> None:
    (track,) = collect(video, 64)
    assert len(track.crops) == 5
    assert track.crops[0].shape == (64, 64, 3)
    assert track.times == pytest.approx([0, 0.16, 0.32, 0.48, 0.64])
    assert track.spread(3) == [0, 2, 4]
    assert track.spread(99) == [0, 1, 2, 3, 4]
    assert collect(video, 64, [99]) == []


@pytest.mark.parametrize("name", MATRICES)
def test_a_face_is_cut_out_as_it_is_shown(name: str) -> None:
    """The detector was trained on upright faces."""
    (scene,) = frames(1, lambda k: [(100, 60)], size=(320, 256))
    rgb, box = scene.picture.to_ndarray(format="rgb24"), face_at((100, 60))
    crops = []
    for matrix in (MATRICES["as stored"], MATRICES[name]):
        face = Face(1, stored_box(box, rgb.shape[:2], matrix), 0.9)
        found: dict[int, Track] = {}
        tracks.cut([replace(scene, picture=turned_picture(rgb, matrix), faces=(face,))], 64, found)
        crops.append(found[1].crops[0].astype(int))
    assert np.abs(crops[1] - crops[0]).mean() < 4


def ask(name: str, threads: int, device: torch.device) -> Asked:
    detector = Detector(Bright(), name, 32)
    return Asked(name, 96, detector.p_real)


def call(words: list[str]) -> None:
    arguments = parser().parse_args(["purify", *words, "--device", "cpu"])
    arguments.run(arguments)


def test_the_command_says_what_it_was_before_and_is_after(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(opinions, "FAST", QUICK)
    monkeypatch.setattr(command, "asked", ask)
    out = tmp_path / "out.json"
    call([str(video), "--detector", "one", "--behind", "two", "--faces", "2", "--out", str(out)])
    found = json.loads(out.read_text())
    assert (found["detector"], found["behind"], found["prior"], found["size"]) == ("one", "two", "fast", 64)
    (row,) = found["tracks"]
    assert row["crops"] == 2
    assert 0 < row["p_real_before"] < 1
    assert row["verdict"] == opinions.Limits().verdict(row["p_real_before"], row["p_real_after"])
    assert capsys.readouterr().out.strip() == str(out)


def test_as_the_paper_does_it_a_crop_is_purified_after_another(
    video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[tuple[tuple[int, ...], Settings, object]] = []

    def noted(images: torch.Tensor, judge: object, settings: Settings, stop: opinions.Ticking) -> Purified:
        called.append((tuple(images.shape), settings, stop.rule))
        for step in range(1, 4):
            assert not stop.look(step, images)
        assert stop.chosen(6005, 1) == [6000]
        return Purified(images, torch.full((len(images),), 0.75), [6000], torch.ones(1), torch.ones(1, 1))

    monkeypatch.setattr(opinions, "purify", noted)
    monkeypatch.setattr(command, "asked", ask)
    call([str(video), "--faces", "2", "--paper"])
    found = json.loads(capsys.readouterr().out)
    assert called == [((1, 3, 512, 512), Settings(iterations=6005), Fixed(6000))] * 2
    assert (found["size"], found["prior"], found["tracks"][0]["p_real_after"]) == (512, "paper", 0.75)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--paper", "--size", "96"], "--paper is at 512 px, got --size 96 too"),
        (["--faces", "0"], "got 0"),
        (["--real-from", "0.2"], "needed, got 0.25 and 0.2"),
    ],
)
def test_what_does_not_go_together_is_said(video: Path, words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call([str(video), *words])


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (0.9, 0.6, "real"),
        (0.4, 0.6, "real"),  # the first was unsure
        (0.9, 0.4, "unknown"),
        (0.9, 0.2, "fake"),
        (0.29, 0.9, "fake"),  # nothing brings back what the first calls fake
    ],
)
def test_the_second_opinion_decides_unless_the_first_calls_it_fake(before: float, after: float, verdict: str) -> None:
    assert opinions.Limits().verdict(before, after) == verdict


def test_the_zoos_detectors_are_asked_as_the_stage_asks_them(tmp_path: Path) -> None:
    """In 8 bits, at their own size; a run folder by torch."""
    card = choose_engine(None, "detector")
    engine = asked("", 1, torch.device("cpu"))
    assert (engine.name, engine.size) == (card.name, card.input_shape("image")[2])
    images = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    shown = ((resize(images, engine.size).clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    classifier = open_classifier(None, "auto", 1)
    odds = classifier.log_odds(list(shown))
    torch.testing.assert_close(engine.p_real(images), torch.tensor([1 / (1 + math.exp(v or 0.0)) for v in odds]))
    with pytest.raises(UnknownNameError, match="no-such"):
        asked("no-such", 1, torch.device("cpu"))
    with pytest.raises(StreamGuardError, match=r"state\.pt"):
        asked(str(tmp_path), 1, torch.device("cpu"))


def test_a_run_folder_of_a_detector_can_be_asked(tmp_path: Path) -> None:
    importing.unship(find_engine(None, "detector"), tmp_path / "run", None)
    engines = [asked(name, 1, torch.device("cpu")) for name in ("detector", str(tmp_path / "run"))]
    assert engines[1].name == "run"
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images = (images * 127.5).round() / 127.5
    with torch.no_grad():
        torch.testing.assert_close(engines[0].p_real(images), engines[1].p_real(images), atol=0.02, rtol=0)


def test_nothing_to_look_at_is_an_empty_answer() -> None:
    one = ask("one", 1, torch.device("cpu"))
    assert opinions.opinions([], one, one, 2, 64, opinions.Limits(), torch.device("cpu")) == []


def test_a_face_that_is_too_small_is_unknown_and_not_asked_about() -> None:
    one = ask("one", 1, torch.device("cpu"))
    small = Track(3, [np.zeros((96, 96, 3), np.uint8)], [0.0], [72.0])
    (row,) = opinions.opinions([small], one, one, 2, 64, opinions.Limits(), torch.device("cpu"))
    assert row == {"track": 3, "face_px": 72, "verdict": "unknown", "reason": "too_small"}


def test_what_has_no_face_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "asked", ask)
    monkeypatch.setattr(command, "collect", lambda video, size, wanted: [])
    call([str(tmp_path / "in.mp4"), "--out", str(tmp_path / "out.json")])
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["tracks"], found["reason"]) == ([], "no_face")


def test_a_track_without_variety_gives_each_crop_once() -> None:
    track = Track(1, [np.zeros((64, 64, 3), np.uint8)], [0.0], [100.0])
    assert track.spread(4) == [0]


def test_a_long_track_keeps_a_bounded_number_of_crops_evenly_spaced() -> None:
    one, (scene,) = Track(1), frames(1, lambda k: [(100, 60)], size=(320, 256))
    kept: dict[int, Track] = {1: one}
    face = Face(1, Box(100, 60, 180, 140), 0.9)
    for k in range(4 * KEPT * 4):
        tracks.cut([replace(scene, faces=(face,), pts=k)], 16, kept)
        assert len(one.crops) == len(one.times) <= KEPT
    steps = np.diff(one.times)
    assert one.every == 16
    assert len(one.crops) > KEPT // 2
    assert len(set(np.round(steps[:-1], 6))) == 1


def test_whole_videos_are_counted_by_verdict(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_opinion, "asked", ask)
    monkeypatch.setattr(opinions, "fast", lambda images, judge: torch.linspace(0.6, 0.9, len(images)))
    monkeypatch.setattr(second_opinion, "opinions", partial(opinions.opinions, prior=opinions.fast))
    monkeypatch.setattr(sys, "argv", ["engines", "evaluate", "second-opinion", "--real", str(video.parent)])
    out = tmp_path / "out.json"
    words = ["evaluate", "second-opinion", "--real", str(video.parent), "--device", "cpu", "--out", str(out)]
    arguments = parser().parse_args(words)
    arguments.run(arguments)
    found = json.loads(out.read_text())
    real, fake = found["together"]
    assert (real["videos"], real["faces"], real["too_small"], real["verdicts"]) == (1, 1, 0, {"real": 1})
    assert (fake["videos"], fake["verdicts"]) == (0, {})
    assert found["rows"][0]["tracks"][0]["p_real_after"] == 0.75
    assert str(video.parent) not in out.read_text()


def test_only_faces_that_are_large_enough_are_counted_each_at_its_own_threshold() -> None:
    sure = Limits().real_from

    def track(before: float, after: float) -> dict[str, object]:
        return {"p_real_before": before, "p_real_after": after, "verdict": "real" if after > sure else "unknown"}

    rows = [{"tracks": [track(0.9, sure + 0.01), {"verdict": "unknown"}]}, {"tracks": [track(0.6, sure - 0.01)]}]
    found = second_opinion._together([*rows, {"tracks": [track(0.4, sure + 0.01)]}], True)
    assert (found["videos"], found["faces"], found["too_small"]) == (3, 3, 1)
    assert found["verdicts"] == {"real": 2, "unknown": 1}
    assert (found["real_before"], found["real_behind"]) == (2, 2)


def test_what_videos_there_are_is_known_before_the_first_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else lies in the folder is no video; a folder that is missing is said at once."""
    (tmp_path / "notes.txt").write_text("x")
    monkeypatch.setattr(second_opinion, "asked", lambda *_: pytest.fail("an engine was opened"))
    for words, error, said in (
        ([], UsageError, "nothing to measure"),
        (["--real", str(tmp_path)], UsageError, "videos end in .mp4"),
        (["--real", str(tmp_path), "--fake", str(tmp_path / "none")], EngineError, "no folder of clips at .*none"),
    ):
        arguments = parser().parse_args(["evaluate", "second-opinion", "--device", "cpu", *words])
        with pytest.raises(error, match=said):
            arguments.run(arguments)
    (tmp_path / "a.MP4").write_text("x")
    monkeypatch.setattr(second_opinion, "asked", lambda *_: Asked("first", 64, lambda images: images[:, 0, 0, 0]))
    monkeypatch.setattr(second_opinion, "_tracks", lambda path, *_: [])
    arguments = parser().parse_args(["evaluate", "second-opinion", "--real", str(tmp_path), "--device", "cpu"])
    arguments.out = tmp_path / "out.json"
    arguments.run(arguments)
    assert [row["video"] for row in json.loads(arguments.out.read_text())["rows"]] == ["a.MP4"]
