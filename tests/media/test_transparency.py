"""Transparency is kept where the encoder and the container can hold it, and told where it is lost."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stream_guard.errors import UnknownNameError
from stream_guard.media import open_source
from stream_guard.media.formats import choose_format
from tests.media.carrying import carried, pictures


class TestTransparency:
    def test_of_vp9_is_read_and_kept(self, tmp_path: Path) -> None:
        source, target = transparent(tmp_path), tmp_path / "out.webm"
        assert carried(source, target, "libvpx-vp9", crf=4) == []
        was, now = pictures(source), pictures(target)
        assert [p.format.name for p in was + now] == ["yuva420p"] * 12
        assert [p.time for p in now] == [p.time for p in was]
        for a, b in zip(was, now, strict=True):
            assert abs(alpha(a) - alpha(b)).mean() < 4
        assert alpha(now[0])[:, :60].mean() > 200 > 50 > alpha(now[0])[:, -60:].mean()

    def test_that_x265_only_seems_to_take_is_told(self, tmp_path: Path) -> None:
        (words,) = carried(transparent(tmp_path), tmp_path / "out.mp4", "libx265")
        assert "loses transparency" in words

    def test_has_the_times_of_the_usual_decoder(self, tmp_path: Path) -> None:
        source = transparent(tmp_path)
        with av.open(str(source)) as container:
            plain = [(f.pts, f.duration) for f in container.decode(video=0)]
        assert [(p.pts, p.duration) for p in pictures(source)] == plain

    @pytest.mark.parametrize(("codec", "suffix"), [("libx264", ".mkv"), ("libvpx-vp9", ".mp4")])
    def test_that_is_lost_is_told(self, codec: str, suffix: str, tmp_path: Path) -> None:
        warnings = carried(transparent(tmp_path), tmp_path / f"out{suffix}", codec)
        assert ["transparency" in words for words in warnings] == [True]

    @pytest.mark.parametrize(("codec", "suffix"), [("prores_ks", ".mov"), ("ffv1", ".mkv"), ("libx264", ".mp4")])
    def test_that_begins_later_is_kept_or_told(self, codec: str, suffix: str, tmp_path: Path) -> None:
        """As that of a transition, whose first pictures cover all."""
        source, target = wiped(tmp_path), tmp_path / f"out{suffix}"
        told = [words for words in carried(source, target, codec) if "transparen" in words]
        seen = [alpha(p).min() > 250 for p in pictures(target)]
        assert [alpha(p).min() > 250 for p in pictures(source)] == [True, True, False, False]
        if codec == "libx264":
            (words,) = told
            assert "from 0.080 s on" in words
            assert all(seen)
        else:
            assert (told, seen) == ([], [True, True, False, False])

    def test_that_may_yet_begin_costs_no_colours(self) -> None:
        """As a recorded screen or a GIF, which are opaque in formats that need not be."""
        assert choose_format("libvpx-vp9", "bgra", 64, 64, opaque=True, container="webm") == ("gbrp", "")
        chosen, words = choose_format("libx264", "bgra", 64, 64, opaque=True)
        assert (chosen, "transparency" in words) == ("yuv444p", False)
        assert "transparency" in choose_format("libx264", "bgra", 64, 64)[1]

    def test_of_finer_colour_is_no_choice_for_vp9(self) -> None:
        assert choose_format("libvpx-vp9", "yuva444p", 64, 64, container="webm")[0] in ("yuva420p", "yuv444p")
        with pytest.raises(UnknownNameError):
            choose_format("libvpx-vp9", "yuva420p", 64, 64, "yuva420p", container="mp4")

    def test_decoding_can_begin_later(self, tmp_path: Path) -> None:
        path = transparent(tmp_path)
        every = [p.pts for p in pictures(path)]
        with open_source(str(path)) as source:
            assert source.begin_at(0, 5)
            assert [item.pts for item in source.read() if hasattr(item, "picture")] == every[5:]


def transparent(folder: Path) -> Path:
    """VP9 in WebM, opaque at the left and clear at the right."""
    path = folder / "in.webm"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libvpx-vp9", rate=25, options={"deadline": "realtime", "cpu-used": "8", "crf": "10"})
        context = stream.codec_context
        context.width, context.height, context.pix_fmt, context.thread_count = 160, 120, "yuva420p", 1
        stream.metadata["alpha_mode"] = "1"
        for index in range(6):
            rgba = np.full((120, 160, 4), 40 * index, np.uint8)
            rgba[:, :80, 3], rgba[:, 80:, 3] = 255, 0
            frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="yuva420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def wiped(folder: Path) -> Path:
    """Four pictures as QuickTime's Animation, the last two clear at the left."""
    path = folder / "in.mov"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("qtrle", rate=25)
        stream.codec_context.width, stream.codec_context.height, stream.codec_context.pix_fmt = 64, 48, "argb"
        for index in range(4):
            samples = np.full((48, 64, 4), 255, np.uint8)
            samples[:, : 32 * (index > 1), 0] = 0
            frame = av.VideoFrame.from_ndarray(samples, format="argb")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def alpha(picture: av.VideoFrame) -> np.ndarray:
    return picture.reformat(format="rgba").to_ndarray()[..., 3].astype(int)
