"""Heads cut from clips: steady square, persons kept apart, and back from the pack as they went in."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from engines.data import clips, pack
from engines.data.action_units import POINTS
from engines.data.detect import still_detector
from stream_guard.errors import EngineError, SourceError
from stream_guard.media import open_source
from stream_guard.media.synthesis import write_clip
from stream_guard.talking_head import portrait, talking_head
from stream_guard.types import Box, Frame


def _write(path, pictures, width, height):
    write_clip(path, pictures, width=width, height=height, rate=10, loudness=lambda time: 0.0)


def _nobody(rgb):
    return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    _write(folder / "ann_clip1.mp4", talking_head(320, 180, 1.2, 10), 320, 180)
    _write(folder / "nobody.mp4", [np.full((96, 128, 3), 90, np.uint8)] * 6, 128, 96)
    (folder / "notes.txt").write_text("not a clip")
    return folder


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("pack")
    portrait().save(out / "still.png")
    seen = []

    def finder(head, face):
        seen.append(face)
        return None if len(seen) == 2 else np.full((POINTS, 2), 0.25, np.float32)

    extra = clips.collect(folder, still_detector(), finder, size=64, count=5)
    pack.build([(out / "still.png", None, Box(150, 40, 300, 200))], out / "p.pack", size=64, extra=extra)
    return out / "p.pack", seen


def test_clips_come_back_from_the_pack(packed):
    path, faces = packed
    (clip,) = clips.read_clips(path)
    assert (clip.name, clip.person) == ("ann_clip1", "ann")
    assert clip.frames.shape == (5, 64, 64, 3)
    assert np.isnan(clip.landmarks[1]).all(), "the finder saw no face in the second frame"
    assert (clip.landmarks[[0, 2, 3, 4]] == 0.25).all()
    for x0, y0, x1, y1 in faces:
        assert 0.05 < x0 < x1 < 0.95, "the face lies within its square"
        assert 0.05 < y0 < y1 < 0.95
        assert y1 - y0 > 0.4, "and fills much of it"


def test_frames_are_evenly_spaced_and_a_long_clip_is_not_held_whole(folder, monkeypatch):
    pulled = []

    class Counting:
        def __init__(self, source):
            self.source, self.info = source, source.info

        def read(self):
            for item in self.source.read():
                pulled.append(item)
                yield item

    @contextmanager
    def counted(*arguments, **options):
        with open_source(*arguments, **options) as source:
            yield Counting(source)

    monkeypatch.setattr(clips, "open_source", counted)
    times = []
    for k, frame in enumerate(clips.spaced_frames(folder / "ann_clip1.mp4", 4)):
        times.append(round(frame.time_seconds * 10))
        if k == 0:
            assert sum(isinstance(item, Frame) for item in pulled) == 1
    assert times == [0, 4, 7, 11]


def test_the_square_is_steady_and_the_face_moves(packed):
    """One square a clip: the wall stays where it is, the head does not."""
    (clip,) = clips.read_clips(packed[0])
    spread = clip.frames.astype(float).std(0).mean(2)
    assert spread[20:44, 20:44].mean() > 2 * spread[:6, :6].mean()


def test_a_split_is_by_person(packed):
    (clip,) = clips.read_clips(packed[0])
    assert clip.split == pack.split_of("ann")
    others = [s for s in pack.SPLITS if s != clip.split]
    assert clips.read_clips(packed[0], others) == []


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("st_Obama_clip3", "st_Obama"),
        ("st_andrew_clip_1", "st_andrew"),
        ("st_style_furious_talk2_clip6", "st_style_furious"),
        ("lp_d10", "lp_d10"),
        ("grid_GRID_bbaf2n", "grid_GRID_bbaf2n"),
    ],
)
def test_persons_by_name(name, person):
    assert clips.person_of(name) == person


def test_a_pack_without_clips_has_none(tmp_path):
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "a.png")
    pack.build([(tmp_path / "a.png", None, Box(16, 16, 48, 48))], tmp_path / "p.pack", size=32)
    assert clips.read_clips(tmp_path / "p.pack") == []


def test_folders_that_give_nothing(tmp_path):
    with pytest.raises(EngineError, match="no folder of clips"):
        clips.collect(tmp_path / "missing", _nobody)
    with pytest.raises(EngineError, match="no clip with a face"):
        clips.collect(tmp_path, _nobody)
    (tmp_path / "torn.mp4").write_bytes(b"\x00" * 200)
    with pytest.raises(SourceError, match="torn"):
        clips.collect(tmp_path, _nobody)


def test_clips_that_are_no_clips(tmp_path):
    np.savez(tmp_path / "p.npz", clip_jpeg=np.zeros(4, np.uint8), clip_jpeg_end=np.array([4]))
    with pytest.raises(EngineError, match="holds no readable clips"):
        clips.read_clips(tmp_path / "p.npz")
