"""A plain transcode of real files, where they are at hand: times, durations and sound packets are the same."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from stream_guard.media import EncoderSettings, transcode
from tests.media.reading import end, read

FAST = EncoderSettings(preset="ultrafast", crf=35)
SMALL = ("lp_d18.mp4", "st_style_trump_clip1.mp4", "grid_GRID_lbbc2a.mpg", "s18.mp4", "again.mkv", "no.mkv")


def check(path: Path, target: Path) -> None:
    report, sink = transcode(str(path), str(target), FAST if target.suffix != ".gif" else EncoderSettings())
    before, after = read(path), read(target)
    tick = {".mkv": Fraction(1, 1000), ".gif": Fraction(1, 100)}.get(target.suffix, Fraction(1, 10**6))
    assert len(after.video) == len(before.video) == report.frames
    assert max(abs(a - b) for a, b in zip(after.video, before.video, strict=True)) * 2 <= tick
    sound = sum(len(p) for p in before.packets.values())
    assert sum(len(p) for p in after.packets.values()) + sink.packets_left_out == sound
    assert (report.truncated, report.pts_invented, report.pts_repaired, sink.dts_repaired) == (False, 0, 0, 0)
    assert end(target) == pytest.approx(float(max(before.video)) + 0.04, abs=0.06) or end(target) == pytest.approx(
        end(path), abs=0.06
    )


def paths(shared: Path) -> list[Path]:
    media = shared / "media"
    return sorted(p for f in ("clips", "publishable/intel") for p in (media / f).rglob("*") if p.is_file())


@pytest.mark.shared
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_real_clip(name: str, suffix: str, shared: Path, tmp_path: Path) -> None:
    found = [p for p in paths(shared) if p.name == name]
    if not found:
        pytest.skip(f"{name} is not there")
    check(found[0], tmp_path / f"out{suffix}")


@pytest.mark.slow
@pytest.mark.shared
def test_all_real_clips(shared: Path, tmp_path: Path) -> None:
    for path in paths(shared):
        suffix = path.suffix if path.suffix != ".mpg" else ".mp4"
        target = tmp_path / f"out{suffix}"
        check(path, target)
        target.unlink()
