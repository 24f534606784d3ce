"""One output of a live stream by itself: what it keeps, what it drops, and that every picture is counted once."""

from __future__ import annotations

import io
import os
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import pytest
from av.stream import Stream

from stream_guard.backoff import Backoff
from stream_guard.media.live import output as live_output
from stream_guard.media.live.contract import LiveOutput
from stream_guard.media.live.mould import Mould
from stream_guard.media.live.output import Output
from stream_guard.media.live.places import Place
from stream_guard.media.live.units import Unit

RATE = 25
SIDE = 16


def unit(number: int, *, key: bool = False, video: bool = True, size: int = SIDE * SIDE) -> Unit:
    """A picture (of raw gray samples), or a packet of sound, at its place in 25 a second."""
    return Unit(bytes(size), 0 if video else 1, number, number, 1, Fraction(1, RATE), key, video)


class Disk(io.BytesIO):
    """Takes so many bytes, then no more."""

    def __init__(self, room: int = 1 << 30) -> None:
        super().__init__()
        self._room = room

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._room:
            raise OSError(28, "No space left on device")
        return super().write(data)


class FakePlace:
    """Gives one disk after the other."""

    format, url, shown, flow, files, for_good = "nut", "there", "there", None, None, True

    def __init__(self, *disks: Disk) -> None:
        self.muxer_options = {"flush_packets": "1"}
        self._disks = list(disks)
        self.ends: list[bool] = []

    def open(self) -> Disk:
        return self._disks.pop(0)

    def abort(self) -> None: ...

    def done(self, *, clean: bool) -> str:
        self.ends.append(clean)
        return ""


def cast_raw(out: av.container.OutputContainer, format: str) -> dict[int, Stream]:
    stream = out.add_stream("rawvideo", rate=RATE)
    stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "gray"
    return {0: stream}


def output_to(*disks: Disk, attempts: int = 0) -> tuple[Output, FakePlace]:
    """An output whose thread does not run: a test calls `_run` itself, once it has been told to end."""
    place = FakePlace(*disks)
    mould = cast(Mould, SimpleNamespace(cast=cast_raw))
    retry = Backoff(0.0, 0.0, 0.0, attempts)
    return Output(cast(Place, place), mould, retry, lambda kind, words, **_: None), place


def waiting(output: Output) -> list[int]:
    return [each.pts for each in output._units]


def test_until_it_is_open_it_keeps_what_follows_the_newest_key_frame() -> None:
    output, _ = output_to()
    for number, key, video in ((0, False, False), (1, False, True), (2, True, True), (3, False, False)):
        output.put(unit(number, key=key, video=video))
    assert (waiting(output), output.dropped) == ([2, 3], 1)
    output.put(unit(4))
    output.put(unit(5, key=True))
    assert (waiting(output), output.dropped) == ([5], 3)
    assert not output.want_key, "nobody would see it yet"


def test_while_it_is_open_a_key_frame_drops_nothing() -> None:
    output, _ = output_to()
    output.state = "open"
    for number in range(4):
        output.put(unit(number, key=number % 2 == 0))
    assert (waiting(output), output.dropped) == ([0, 1, 2, 3], 0)


def test_one_that_falls_behind_drops_what_waits_and_goes_on_at_a_key_frame() -> None:
    output, _ = output_to()
    output.state = "open"
    last = round(live_output.QUEUE_SECONDS * RATE)
    for number in range(last + 1):
        output.put(unit(number, key=number == 0))
    assert (len(waiting(output)), output.want_key) == (last + 1, False)
    output.put(unit(last + 1))
    output.put(unit(last + 1, video=False))
    assert (waiting(output), output.dropped, output.want_key) == ([], last + 2, True)
    output.put(unit(last + 2, key=True))
    output.put(unit(last + 2, video=False))
    assert (waiting(output), output.dropped) == ([last + 2, last + 2], last + 2)


def test_a_key_frame_that_finds_it_behind_is_the_one_to_go_on_with() -> None:
    output, _ = output_to()
    output.state = "open"
    for number in (0, 1000):
        output.put(unit(number, key=True))
    assert (waiting(output), output.dropped) == ([1000], 1)


def test_bytes_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_output, "QUEUE_BYTES", 100)
    output, _ = output_to()
    output.state = "open"
    output.put(unit(0, key=True, size=60))
    output.put(unit(1, size=40))
    assert waiting(output) == [0, 1]
    output.put(unit(2, key=True, size=99))
    output.put(unit(3, size=1))
    assert (waiting(output), output.dropped) == ([2, 3], 2)
    output.put(unit(4, size=1))
    assert (waiting(output), output.dropped) == ([], 5)


def test_one_picture_may_be_larger_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_output, "QUEUE_BYTES", 100)
    output, _ = output_to()
    output.put(unit(0, key=True, size=101))
    assert waiting(output) == [0]


def test_what_waits_at_the_end_is_written_and_sound_of_another_form_is_not() -> None:
    disk = Disk()
    output, place = output_to(disk)
    for number in range(5):
        output.put(unit(number, key=number == 0))
        output.put(unit(number, video=False))
    output.end()
    output.put(unit(5))
    output._run()
    output.abort()
    assert (output.pictures, output.dropped, output.bytes) == (5, 1, 5 * SIDE * SIDE)
    assert place.ends == [True]
    disk.seek(0)
    with av.open(disk) as written:
        times = [packet.pts * packet.time_base * RATE for packet in written.demux() if packet.pts is not None]
    assert times == [*range(5)]


def test_a_connection_that_breaks_loses_no_picture_from_the_counts() -> None:
    output, place = output_to(Disk(room=4 * SIDE * SIDE))
    for number in range(9):
        output.put(unit(number, key=number == 0))
    output.end()
    output._run()
    output.abort()
    assert 0 < output.pictures < 9
    assert output.pictures + output.dropped == 9
    assert place.ends == [False]


def test_an_output_that_failed_for_good_counts_what_it_is_given() -> None:
    output, _ = output_to(Disk(room=0), Disk(room=0), attempts=2)
    output.put(unit(0, key=True))
    output._run()
    output.put(unit(1, key=True))
    assert (output.state, output.error) == ("failed", "No space left on device")
    assert (output.pictures, output.dropped) == (0, 2)
    assert waiting(output) == []


def cast_mpeg(out: av.container.OutputContainer, format: str) -> dict[int, Stream]:
    stream = out.add_stream("mpeg2video", rate=RATE)
    stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
    return {0: stream}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("name", "written"), [("x.m3u8", "x_2.ts.tmp"), ("x.m3u8", "x.m3u8.tmp.new"), ("x.M3U8", "x.M3U8.tmp.new")]
)
def test_a_playlist_on_a_full_disk_says_so_and_goes_on_when_there_is_room(
    tmp_path: Path, name: str, written: str
) -> None:
    """FFmpeg's own writing lists segments that are cut off, empties the playlist, and says nothing."""
    playlist, full = tmp_path / name, tmp_path / written

    def run() -> None:
        place = Place(LiveOutput(str(playlist), options=(("hls_time", "1"), ("hls_list_size", "9"))))
        mould = cast(Mould, SimpleNamespace(cast=cast_mpeg))
        output = Output(place, mould, Backoff(), lambda kind, words, **_: None)
        output.state = "open"  # before it is, nothing but the newest would be kept
        for number in range(2 * RATE):
            output.put(unit(number, key=number % RATE == 0))
        output.end()
        try:
            output._session()
        finally:
            output.abort()
            assert output.pictures + output.dropped == 2 * RATE

    def listed() -> list[str]:
        return [line for line in playlist.read_text().splitlines() if line.endswith(".ts")]

    run()
    playlist.write_text(playlist.read_text().replace("#EXT-X-ENDLIST\n", ""))
    assert listed() == ["x_0.ts", "x_1.ts"]
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        run()
    assert listed() == ["x_0.ts", "x_1.ts"], "what players had"
    full.unlink(missing_ok=True)
    (tmp_path / "x_2.ts").unlink(missing_ok=True)
    run()
    assert listed() == ["x_0.ts", "x_1.ts", "x_2.ts", "x_3.ts"]
    assert "#EXT-X-DISCONTINUITY" in playlist.read_text()
    assert min(path.stat().st_size for path in tmp_path.glob("x*.ts")) > RATE * SIDE * SIDE
