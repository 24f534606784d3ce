"""The drawn talking head and the clip that it becomes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stream_guard import talking_head as drawing
from stream_guard.errors import StreamGuardError
from stream_guard.media import open_source
from stream_guard.media.measure import stream_size
from stream_guard.media.synthesis import write_clip
from stream_guard.talking_head import speech, talking_head
from stream_guard.types import Frame


def test_the_head_moves_and_the_background_hardly_does() -> None:
    first, last = (picture.astype(int) for picture in list(talking_head(320, 180, 1.6, 5))[::7])
    head, corner = (slice(20, 110), slice(90, 190)), (slice(0, 60), slice(255, 320))
    assert np.abs(first[head] - last[head]).mean() > 4 * np.abs(first[corner] - last[corner]).mean()


def test_it_is_drawn_the_same_each_time() -> None:
    one, two = (next(iter(talking_head(160, 90, 0.2, 5))) for _ in range(2))
    assert one.shape == (90, 160, 3)
    np.testing.assert_array_equal(one, two)


def test_the_clip_has_sound_and_even_times(tmp_path: Path) -> None:
    path = tmp_path / "head.mp4"
    pictures = talking_head(160, 90, 0.4, 25)
    assert write_clip(path, pictures, width=160, height=90, rate=25, loudness=speech) == 10
    with open_source(str(path)) as source:
        frames = [item for item in source.read() if isinstance(item, Frame)]
        info = source.info
    assert [frame.pts * frame.time_base * 25 for frame in frames] == list(range(10))
    assert {stream.kind for stream in info.streams} == {"video", "audio"}
    assert info.video.colour.matrix == 1
    size = stream_size(str(path), info.video.stream)
    assert (size.packets, size.seconds) == (10, pytest.approx(0.4))
    assert 0 < size.bytes < path.stat().st_size
    assert size.bit_rate == pytest.approx(8 * size.bytes / 0.4)


def test_the_colours_survive_the_encoder(tmp_path: Path) -> None:
    path = tmp_path / "red.mp4"
    red = np.full((64, 64, 3), (200, 30, 40), np.uint8)
    write_clip(path, [red] * 3, width=64, height=64, rate=25, loudness=lambda time: 0.0)
    with open_source(str(path)) as source:
        frame = next(item for item in source.read() if isinstance(item, Frame))
        from stream_guard.media import pixels

        np.testing.assert_allclose(pixels.whole_rgb(frame.picture)[20:40, 20:40].mean((0, 1)), (200, 30, 40), atol=3)


def test_a_scikit_image_without_the_portrait_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "find_spec", lambda name: None)
    with pytest.raises(StreamGuardError, match="scikit-image"):
        drawing.portrait()
