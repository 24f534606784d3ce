"""Lines of text that overlap: each is shown from its own time on, also where a format shows one packet at a time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.media import EncoderSettings, SinkReport, transcode
from stream_guard.media.spans import MOST_AT_ONCE, Span, Spans, together
from tests.support import troubles

QUICK = EncoderSettings(preset="ultrafast", threads=1)
OVERLAPPING = ((0, 1000, "One"), (200, 1000, "Two"), (400, 1000, "Three"), (600, 1000, "Four"))
MERGED = [
    (0, 200, "One"),
    (200, 400, "One Two"),
    (400, 600, "One Two Three"),
    (600, 1000, "One Two Three Four"),
    (1000, 1200, "Two Three Four"),
    (1200, 1400, "Three Four"),
    (1400, 1600, "Four"),
]


def shown(path: Path) -> list[tuple[int, int, str]]:
    """Start and end in milliseconds, and the words, of each packet that shows any."""
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        for packet in container.demux(stream):
            if packet.size > 2:
                start = round(packet.pts * packet.time_base * 1000)
                words = b" ".join(line.dialogue for line in stream.codec_context.decode2(packet))
                end = start + round(packet.duration * packet.time_base * 1000)
                found.append((start, end, words.decode().replace("\n", " ")))
    return found


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("subtitle", ["subrip", "ass"])
def test_lines_that_overlap_are_shown_together_from_their_own_times(suffix: str, subtitle: str, tmp_path: Path) -> None:
    source = troubles.rich(tmp_path, subtitle=subtitle, lines=OVERLAPPING)
    report = transcode(str(source), str(tmp_path / f"out{suffix}"), QUICK)[1]
    assert shown(tmp_path / f"out{suffix}") == MERGED
    assert (report.packets_refused, report.dts_repaired) == (0, 0)


def test_lines_that_overlap_stay_apart_where_the_format_allows_it(tmp_path: Path) -> None:
    source = troubles.rich(tmp_path, subtitle="ass", lines=OVERLAPPING)
    transcode(str(source), str(tmp_path / "out.webm"), EncoderSettings(threads=1))
    assert shown(tmp_path / "out.webm") == [(at, at + length, words) for at, length, words in OVERLAPPING]


def test_lines_that_follow_one_another_stay_as_they_are(tmp_path: Path) -> None:
    transcode(str(troubles.rich(tmp_path)), str(tmp_path / "out.mp4"), QUICK)
    assert shown(tmp_path / "out.mp4") == [(at, at + length, words) for at, length, words in troubles.LINES]


def event(words: str, style: str = "Default") -> bytes:
    return f"0,0,{style},,0,0,0,,{words}".encode()


def spans(*lines: tuple[int, int, str], until_next: int = 50, report: SinkReport | None = None) -> list[Span]:
    made = Spans(until_next, report or SinkReport())
    found = [span for at, length, words in lines for span in made.add(at, length, event(words))]
    return found + list(made.finish())


def test_a_line_without_a_length_is_shown_until_the_next() -> None:
    found = spans((0, 0, "a"), (30, 0, "b"), (200, 0, "c"))
    assert found == [(0, 30, event("a")), (30, 80, event("b")), (200, 250, event("c"))]


def test_lines_that_begin_together_are_shown_together_whatever_their_lengths() -> None:
    spans = Spans(until_next=5000, report=(report := SinkReport()))
    made = [*spans.add(100, 0, b"One"), *spans.add(100, 0, b"Two"), *spans.add(900, 300, b"Three"), *spans.finish()]
    assert [(s.start, s.end, s.ass) for s in made] == [
        (100, 900, together([b"One", b"Two"])),
        (900, 1200, b"Three"),
    ]
    assert report.dts_repaired == 0


def test_a_line_out_of_order_is_shown_late_and_counted() -> None:
    report = SinkReport()
    found = spans((20, 10, "a"), (10, 30, "b"), report=report)
    assert (found, report.dts_repaired) == ([(20, 30, together([event("a"), event("b")])), (30, 50, event("b"))], 1)


def test_lines_before_zero_keep_their_times() -> None:
    assert spans((-30, 20, "a"), (-20, 40, "b"))[0] == (-30, -20, event("a"))


def test_each_line_begins_in_its_own_style() -> None:
    merged = together([event("{\\i1}a"), event("b", "Small"), b"damaged"])
    assert merged == b"0,0,Default,,0,0,0,,{\\i1}a\\N{\\rSmall}b\\N{\\r}damaged"


def test_what_is_shown_at_once_has_a_bound() -> None:
    made = Spans(50, SinkReport())
    longest = 0
    for start in range(200):
        for span in made.add(start, 10_000, event(f"line{start}")):
            assert span[:2] == (start - 1, start)
            assert event(f"line{start - 1}").rsplit(b",")[-1] in span.ass, "the newest is there"
            longest = max(longest, span.ass.count(b"line"))
    assert longest == MOST_AT_ONCE


@given(st.lists(st.tuples(st.integers(-50, 300), st.integers(1, 60)), max_size=12))
def test_every_line_is_shown_in_its_time_and_in_no_other(lines: list[tuple[int, int]]) -> None:
    ordered = [(at, length, f"<{n}>") for n, (at, length) in enumerate(sorted(lines))]
    found = spans(*ordered)
    assert all(a.end <= b.start for a, b in pairwise(found))
    for moment in range(-50, 361):
        there = [span.ass for span in found if span.start <= moment < span.end]
        assert len(there) <= 1
        for at, length, words in ordered:
            assert (words.encode() in b"".join(there)) == (at <= moment < at + length)


def test_a_length_that_no_muxer_takes_is_unknown(tmp_path: Path) -> None:
    source = troubles.rich(tmp_path, lines=((0, 2**32 - 1, "One"), (400, 2**32 - 1, "Two")))
    transcode(str(source), str(tmp_path / "out.mp4"), QUICK)
    assert shown(tmp_path / "out.mp4") == [(0, 400, "One"), (400, 5400, "Two")]
