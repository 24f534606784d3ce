"""The offline second opinion: faces as the runtime follows them, an answer before and after, as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engines.__main__ import parser
from engines.detectors.detector import Detector
from engines.purification import command
from engines.purification.prior import Settings
from stream_guard.media.synthesis import write_clip
from stream_guard.types import Face
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
    (track,) = command.collect(video, 64)
    assert len(track.crops) == 5
    assert track.crops[0].shape == (64, 64, 3)
    assert track.times == pytest.approx([0, 0.16, 0.32, 0.48, 0.64])
    assert track.spread(3) == [0, 2, 4]
    assert track.spread(99) == [0, 1, 2, 3, 4]
    assert command.collect(video, 64, [99]) == []


@pytest.mark.parametrize("name", MATRICES)
def test_a_face_is_cut_out_as_it_is_shown(name: str) -> None:
    """The detector was trained on upright faces."""
    (scene,) = frames(1, lambda k: [(100, 60)], size=(320, 256))
    rgb, box = scene.picture.to_ndarray(format="rgb24"), face_at((100, 60))
    crops = []
    for matrix in (MATRICES["as stored"], MATRICES[name]):
        face = Face(1, stored_box(box, rgb.shape[:2], matrix), 0.9)
        tracks: dict[int, command.Track] = {}
        command._cut([replace(scene, picture=turned_picture(rgb, matrix), faces=(face,))], 64, tracks)
        crops.append(tracks[1].crops[0].astype(int))
    assert np.abs(crops[1] - crops[0]).mean() < 4


def test_the_command_says_what_it_was_before_and_is_after(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "FAST", QUICK)
    monkeypatch.setattr(command, "detector_of", lambda folder: Detector(Bright(), "bright", 32))
    out = tmp_path / "out.json"
    words = ["purify", str(video), "--detector", "none", "--faces", "2", "--device", "cpu", "--out", str(out)]
    arguments = parser().parse_args(words)
    arguments.run(arguments)
    (row,) = json.loads(out.read_text())["tracks"]
    assert row["crops"] == 2
    assert 0 < row["p_real_before"] < 1
    assert row["verdict"] == ("real" if row["p_real_after"] > 0.25 else "fake")
    assert capsys.readouterr().out.strip() == str(out)


def test_nothing_to_look_at_is_an_empty_answer() -> None:
    assert command.opinions([], Detector(Bright(), "bright", 32), 2, 0.25, torch.device("cpu")) == []


def test_a_track_without_variety_gives_each_crop_once() -> None:
    track = command.Track(1, [np.zeros((64, 64, 3), np.uint8)], [0.0])
    assert track.spread(4) == [0]
