"""What `protect` says of a run that was not quite as it should be."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from stream_guard.commands.protect import shortcomings, summary
from stream_guard.media import SinkReport, SourceReport
from stream_guard.outcome import RunReport


def report(source: dict[str, Any] | None = None, sink: dict[str, Any] | None = None) -> RunReport:
    """One picture with one protected face, and these counts of the source and the sink."""
    counts = (1, 1, 0, 1, 1, {}, {}, 0.1, 10.0, {})
    return RunReport("test", "block", *counts, source=source or {}, sink=sink or {}, engines={})


def test_a_run_of_one_picture_is_told_in_the_singular() -> None:
    said = summary(report(), Path("out.mp4"))
    assert said == "out.mp4: 1 picture, 1 of 1 face protected, 0 pictures without a face; 0.1 s, 10.0 fps"


def test_a_good_run_has_none() -> None:
    whole = report(asdict(SourceReport(jumps=3)), asdict(SinkReport(packets_copied=5, packets_left_out=1)))
    assert shortcomings(whole) == []


@pytest.mark.parametrize(
    ("source", "sink", "words"),
    [
        ({"pts_repaired": 9}, {}, "9 pictures had a time that was not after the one before"),
        (
            {"size_changes": 1, "sizes": ["192x192 yuv420p", "256x144 yuv422p"]},
            {},
            "changed its size or format in mid-stream (192x192 yuv420p, 256x144 yuv422p; changes: 1)",
        ),
        ({}, {"sound_left_out_seconds": 0.116}, "0.12 s of sound before time zero are left out"),
        ({}, {"packets_refused": 4}, "4 packets of sound, subtitles or data are left out"),
        ({}, {"dts_repaired": 2}, "2 copied packets had a repeated time"),
        ({"pts_repaired": 1}, {}, "1 picture had a time that was not after the one before; it follows it"),
        ({"corrupt_packets": 1, "corrupt_frames": 2}, {}, "the input has 1 damaged packet and 2 damaged pictures"),
        ({}, {"packets_refused": 1}, "1 packet of sound, subtitles or data is left out: it has no time"),
        ({}, {"dts_repaired": 1}, "1 copied packet had a repeated time and was repaired"),
    ],
)
def test_what_was_not_as_it_should_be_is_told(source: dict[str, Any], sink: dict[str, Any], words: str) -> None:
    (said,) = shortcomings(report(source, sink))
    assert words in said
