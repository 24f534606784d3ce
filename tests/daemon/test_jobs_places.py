"""A source begun in the middle gives the frames that it gives when it is read from the start."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stream_guard.errors import SourceError, StoppedError
from stream_guard.media.segment import Place, checksum, open_segments
from tests.support import troubles
from tests.support.attempts import OPEN_GOP, with_b_frames
from tests.support.media import Clip, vfr, write

SECONDS = 0.4
Seen = list[tuple[int, int, int, int | None]]


def read(path: Path, place: Place | None = None) -> tuple[Seen, list[Place], int]:
    """(index, pts, duration, checksum of each frame), the places of all segments, and how many frames are counted."""
    source = open_segments(str(path), SECONDS, place)
    try:
        seen, numbers = [], []
        for frame in source.read():
            seen.append((frame.index, frame.pts, frame.duration, checksum(frame.picture)))
            numbers.append(source.number(frame))
        places = [source.place(number) for number in dict.fromkeys(numbers)]
        return seen, places, source.report.frames
    finally:
        source.close()


SOURCES: dict[str, Callable[[Path], Path]] = {
    "b_frames": lambda folder: with_b_frames(folder, ".mp4"),
    "matroska": lambda folder: with_b_frames(folder, ".mkv"),
    "transport_stream": lambda folder: with_b_frames(folder, ".ts"),
    "open_gop": lambda folder: write(folder / "open.mp4", Clip(frames=70, options={"x264-params": OPEN_GOP})),
    "hevc": lambda folder: write(
        folder / "hevc.mp4",
        Clip(frames=60, codec="libx265", options={"x265-params": "keyint=10:open-gop=1:log-level=none"}),
    ),
    "vp9": lambda folder: write(
        folder / "vp9.webm", Clip(frames=60, codec="libvpx-vp9", options={"g": "10"}, audio=("libopus",))
    ),
    "edit_list": troubles.edit_list,
    "uneven_times": lambda folder: vfr(folder, pts=[400 * i + 150 * (i % 3) for i in range(60)]),
    "one_key_frame": lambda folder: with_b_frames(folder, ".mkv", g="300"),
    "ten_bit": lambda folder: troubles.pixels(folder, "yuv420p10le"),
    "late_start": troubles.late_start,
    "damaged": troubles.corrupt,
}
EARLY = {"b_frames", "matroska", "transport_stream", "open_gop", "hevc", "vp9"}
"""Those with key frames enough to begin at one."""


@pytest.mark.parametrize("name", SOURCES)
def test_every_place_leads_to_the_same_frames(tmp_path: Path, name: str) -> None:
    path = SOURCES[name](tmp_path)
    seen, places, frames = read(path)
    assert frames == len(seen)
    assert [place.index for place in places] == sorted({place.index for place in places})
    for place in places[1:]:
        again, later, counted = read(path, Place.from_json(place.to_json()))
        assert [one[:3] for one in again] == [one[:3] for one in seen[place.index :]], place
        if name != "damaged":  # how a decoder conceals damage depends on its threads: no two runs agree
            assert again == seen[place.index :], place
        assert counted == frames
        assert [p.index for p in later] == [p.index for p in places if p.index >= place.index]
    if name in EARLY:
        assert places[-1].packet > 0
    if name == "one_key_frame":
        assert all(place.packet == 0 for place in places)
    if name == "damaged":
        assert places[-1].packet == 0


def test_a_key_frame_that_leads_to_other_pictures_is_not_trusted(tmp_path: Path) -> None:
    path = with_b_frames(tmp_path, ".mp4")
    seen, places, _ = read(path)
    place = places[-1]
    wrong = replace(place, before=tuple((pts, crc ^ 1) for pts, crc in place.before))
    assert read(path, wrong)[0] == seen[place.index :]
    late = replace(place, packet=place.packet + 20)
    assert read(path, late)[0] == seen[place.index :]


def test_a_frame_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    path = with_b_frames(tmp_path, ".mp4")
    _, places, _ = read(path)
    place = places[2]
    moved = ({"pts": place.pts + 1}, {"pts": place.pts - 1}, {"pts": 1 << 40}, {"index": place.index + 1, "packet": 0})
    for change in moved:
        with pytest.raises(SourceError, match="does not decode as it did"):
            read(path, replace(place, **change))


def test_the_way_to_a_place_can_be_stopped(tmp_path: Path) -> None:
    path = with_b_frames(tmp_path, ".mp4")
    _, places, _ = read(path)
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        open_segments(str(path), SECONDS, places[-1], stop)
