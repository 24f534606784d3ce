"""Interlaced pictures keep the order of their fields, or a warning says that they do not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.codec.context import Flags

from stream_guard.media import EncoderSettings, FileSink, inner, open_source
from stream_guard.media.inner import hidden
from stream_guard.types import Frame
from tests.media.carrying import carried, pictures
from tests.support import media


class TestFields:
    @pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
    @pytest.mark.parametrize(("order", "top_first"), [("tt", True), ("bb", False)])
    @pytest.mark.parametrize("codec", ["libx264", "mpeg4", "ffv1", "prores_ks"])
    def test_keep_their_order(self, codec: str, order: str, top_first: bool, suffix: str, tmp_path: Path) -> None:
        if suffix == ".mp4" and codec in ("ffv1", "prores_ks"):
            pytest.skip("no pair that FFmpeg writes")
        target = tmp_path / f"out{suffix}"
        assert carried(interlaced(tmp_path, order), target, codec) == []
        assert {hidden(p).top_field_first for p in pictures(target)} == {top_first}
        if codec == "libx264":
            with open_source(str(target)) as source:
                assert source.info.video.field_order == (2 if top_first else 3)

    def test_leave_room_for_the_users_own_parameters(self, tmp_path: Path) -> None:
        options = {"x264-params": "keyint=3:min-keyint=3"}
        carried(interlaced(tmp_path, "bb"), tmp_path / "out.mkv", "libx264", options=options)
        assert {hidden(p).top_field_first for p in pictures(tmp_path / "out.mkv")} == {False}
        assert [p.key_frame for p in pictures(tmp_path / "out.mkv")] == [True, False, False, True, False, False]

    def test_the_users_own_order_counts(self, tmp_path: Path) -> None:
        target = tmp_path / "out.ts"
        carried(interlaced(tmp_path, "bb"), target, "libx264", options={"x264-params": "tff=1"})
        with open_source(str(target)) as source:
            assert source.info.video.field_order == 2


def orders_after(folder: Path, later: int) -> tuple[list[bool | None], list[str]]:
    """What the pictures say whose fields begin with the top one, where the last 10 of 60 have `later` for flags.

    With the warnings.
    """
    with (
        open_source(str(interlaced(folder, "tt", frames=60))) as source,
        FileSink(str(folder / "out.mkv"), source, EncoderSettings(preset="veryfast", threads=1)) as sink,
    ):
        for item in source.read():
            if isinstance(item, Frame):
                raw = inner._AVFrame.from_address(inner._pointer(item.picture))
                raw.flags = raw.flags & ~0x18 | (later if item.index >= 50 else 0x18)
                sink.write(item)
    return [hidden(picture).top_field_first for picture in pictures(folder / "out.mkv")], sink.report.warnings


def test_whole_frames_among_fields_do_not_turn_the_order_of_those_before(tmp_path: Path) -> None:
    assert orders_after(tmp_path, later=0) == ([True] * 60, [])


def test_an_order_of_fields_that_changes_is_said(tmp_path: Path) -> None:
    orders, warnings = orders_after(tmp_path, later=0x08)
    assert orders[-5:] == [False] * 5
    assert len(warnings) == 1
    assert "the order of the fields changes at 2.000 s" in warnings[0]


def interlaced(folder: Path, order: str, frames: int = 6) -> Path:
    """H.264 whose stream and whose pictures both say the order; PyAV can't mark pictures, so it is done beside it."""
    path = folder / "in.mkv"
    with av.open(str(path), "w") as out:
        parameters = {"x264-params": f"{order[0]}ff=1", "field_order": order}
        stream = out.add_stream("libx264", rate=25, options=media.X264 | parameters)
        context = stream.codec_context
        context.width, context.height = 160, 120
        context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        for index in range(frames):
            frame = media.picture(index, (160, 120), "yuv420p")
            inner._AVFrame.from_address(inner._pointer(frame)).flags |= 1 << 3 | (1 << 4 if order == "tt" else 0)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path
