"""What `protect` says of a run that was not quite as it should be."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from stream_guard.commands.protect import shortcomings
from stream_guard.media import SinkReport, SourceReport
from stream_guard.outcome import RunReport


def report(source: dict[str, Any] | None = None, sink: dict[str, Any] | None = None) -> RunReport:
    """One picture with one protected face, and these counts of the source and the sink."""
    counts = (1, 1, 0, 1, 1, {}, {}, 0.1, 10.0, {})
    return RunReport("test", "block", *counts, source=source or {}, sink=sink or {}, engines={})


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
    ],
)
def test_what_was_not_as_it_should_be_is_told(source: dict[str, Any], sink: dict[str, Any], words: str) -> None:
    (said,) = shortcomings(report(source, sink))
    assert words in said
