"""Killed at any moment, with SIGKILL, a job's file is in the end the one of a run that nobody disturbed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from stream_guard.config import load_pipeline
from stream_guard.media.atomic import AtomicFile
from stream_guard.protect import protect_file
from stream_guard.talking_head import talking_head
from tests.support import jobs, scenes, troubles
from tests.support.attempts import OPEN_GOP, Attempts, same, with_b_frames
from tests.support.media import SAME_BITS, Clip, vfr, write
from tests.support.tagged import clip

SLOW = 0.02
"""Seconds that the stage takes for a picture where the moment of the kill is left to chance."""


def uneven(folder: Path, suffix: str) -> Path:
    """Times at random, with a gap longer than two segments."""
    chance = random.Random(5)
    pts, now = [], 0
    for index in range(60):
        pts.append(now)
        now += chance.choice((200, 512, 512, 700)) + (14000 if index == 31 else 0)
    return vfr(folder, suffix=suffix, pts=pts)


SOURCES: dict[str, Callable[[Path], Path]] = {
    "b_frames": lambda folder: with_b_frames(folder, ".mp4"),
    "open_gop": lambda folder: write(
        folder / "open.mp4", Clip(size=(320, 240), frames=70, options={"x264-params": OPEN_GOP})
    ),
    "uneven_times": lambda folder: uneven(folder, ".mkv"),
    "transport_stream": lambda folder: with_b_frames(folder, ".ts"),
    "one_key_frame": lambda folder: with_b_frames(folder, ".mkv", g="300"),
    "avi": lambda folder: write(
        folder / "old.avi", Clip(frames=60, codec="mpeg4", options={"bf": "2", "g": "8"}, audio=("mp2",))
    ),
    "truncated": lambda folder: troubles.truncated(folder, part=0.8),
}


@pytest.mark.parametrize("name", SOURCES)
def test_killed_twice_the_result_is_the_same(tmp_path: Path, name: str) -> None:
    source = SOURCES[name](tmp_path)
    whole = Attempts(tmp_path, source, tmp_path / f"whole{source.suffix if name != 'avi' else '.mp4'}")
    expected_code = whole.run()
    cut = Attempts(tmp_path, source, whole.output.with_stem("cut"))
    assert cut.run(kill_after_segments=1) == -9
    assert not cut.output.exists()
    assert cut.run(kill_after_segments=2) == -9
    assert cut.run() == expected_code == (1 if name == "truncated" else 0), cut.error
    assert any("going on after" in note for note in cut.notes), cut.notes
    same(whole, cut)


def test_subtitles_sound_and_chapters_stay(tmp_path: Path) -> None:
    source = troubles.rich(tmp_path)
    whole = Attempts(tmp_path, source, tmp_path / "whole.mkv")
    assert whole.run() == 0
    cut = Attempts(tmp_path, source, tmp_path / "cut.mkv")
    assert cut.run(kill_after_segments=1) == -9
    assert cut.run() == 0, cut.error
    same(whole, cut)
    assert len(jobs.content(cut.output).packets) == 3


def test_what_cannot_be_carried_is_said_once_whichever_segment_met_it(tmp_path: Path) -> None:
    """Each segment has an encoder of its own, which finds the change anew."""
    limited, full = clip(tmp_path / "a.ts"), clip(tmp_path / "b.ts", full=True)
    (tmp_path / "both.ts").write_bytes(2 * limited + 4 * full)
    job = Attempts(tmp_path, tmp_path / "both.ts", tmp_path / "out.mp4")
    assert job.run(kill_after_segments=3) == -9
    assert job.run() == 0, job.error
    said = [words for words in job.report["warnings"] if "range or matrix" in words]
    assert len(said) == 1
    assert "changes at 0.6" in said[0], "the moment of the first, not of a later segment's beginning"


def test_a_cover_with_a_face_is_protected_as_without_segments(tmp_path: Path) -> None:
    source = troubles.cover_art(tmp_path, sleeve=scenes.sleeve(tmp_path / "sleeve.jpg", face=True))
    whole = Attempts(tmp_path, source, tmp_path / "whole.mp4", pipeline="protect")
    cut = Attempts(tmp_path, source, tmp_path / "cut.mp4", pipeline="protect")
    assert whole.run() == 0, whole.error
    assert cut.run(kill_after_segments=2) == -9
    assert cut.run() == 0, cut.error
    same(whole, cut)
    at_once = protect_file(source, tmp_path / "once.mp4", load_pipeline("protect"))
    assert jobs.content(tmp_path / "once.mp4").packets[2] == jobs.content(cut.output).packets[2]
    assert cut.report["warnings"] == whole.report["warnings"] == list(at_once.warnings)
    assert "is a cover, and it shows a face" in at_once.warnings[0]


def test_killed_at_moments_of_chance_the_result_is_the_same(tmp_path: Path) -> None:
    source = with_b_frames(tmp_path, ".mp4")
    whole = Attempts(tmp_path, source, tmp_path / "whole.mp4")
    assert whole.run() == 0
    cut = Attempts(tmp_path, source, tmp_path / "cut.mp4")
    cut.spec["settings"]["options"] = {"remember.slow": SLOW}
    chance, code = random.Random(11), -9
    for _ in range(6):
        code = cut.run(kill_after_seconds=chance.uniform(0.0, 0.8))
        if code == 0:
            break
        assert code == -9, cut.error
    if code != 0:
        assert cut.run() == 0, cut.error
    same(whole, cut)


def test_the_segments_are_those_of_the_plain_file_to_the_viewer(tmp_path: Path) -> None:
    """Times and the other streams are as `protect` leaves them; only the pictures' coding differs."""
    from stream_guard.media import transcode

    source = uneven(tmp_path, ".mkv")
    made = Attempts(tmp_path, source, tmp_path / "made.mkv")
    assert made.run() == 0
    transcode(str(source), str(tmp_path / "plain.mkv"))
    one, other = jobs.content(tmp_path / "plain.mkv"), jobs.content(made.output)
    assert [pts for pts, _ in one.pictures[0]] == [pts for pts, _ in other.pictures[0]]
    assert one.packets[1] == other.packets[1]


def test_a_changed_source_starts_anew_and_says_so(tmp_path: Path) -> None:
    source = with_b_frames(tmp_path, ".mp4")
    cut = Attempts(tmp_path, source, tmp_path / "cut.mp4")
    assert cut.run(kill_after_segments=2) == -9
    write(source, Clip(size=(320, 240), frames=50, options={"bf": "0"}))
    assert cut.run() == 0, cut.error
    assert any("the input changed" in note for note in cut.notes), cut.notes
    assert cut.report["frames_out"] == 50


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder": {**SAME_BITS, "crf": 35}}, "the job's settings"),
        ({"options": {"remember.salt": 4}}, "the job's settings"),
    ],
)
def test_changed_settings_start_anew(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    source = with_b_frames(tmp_path, ".mp4")
    cut = Attempts(tmp_path, source, tmp_path / "cut.mp4")
    assert cut.run(kill_after_segments=2) == -9
    cut.spec["settings"].update(change)
    assert cut.run() == 0, cut.error
    assert any(words in note for note in cut.notes), cut.notes
    fresh = Attempts(tmp_path, source, tmp_path / "fresh.mp4", **change)
    assert fresh.run() == 0
    same(fresh, cut)


def test_a_damaged_segment_is_made_anew(tmp_path: Path) -> None:
    source = with_b_frames(tmp_path, ".mp4")
    whole = Attempts(tmp_path, source, tmp_path / "whole.mp4")
    assert whole.run() == 0
    cut = Attempts(tmp_path, source, tmp_path / "cut.mp4")
    assert cut.run(kill_after_segments=3) == -9
    second = sorted(cut.work.glob("*.segment"))[1]
    data = bytearray(second.read_bytes())
    data[len(data) // 2] ^= 1
    second.write_bytes(bytes(data))
    assert cut.run() == 0, cut.error
    assert any("going on after 1 whole segment," in note for note in cut.notes), cut.notes
    same(whole, cut)


def test_what_a_killed_run_left_beside_the_output_goes(tmp_path: Path) -> None:
    source = with_b_frames(tmp_path, ".mp4")
    cut = Attempts(tmp_path, source, tmp_path / "cut.mp4")
    AtomicFile(str(cut.output), overwrite=False, token="cut")
    assert list(tmp_path.glob(".stream-guard-*"))
    assert cut.run() == 0, cut.error
    assert not list(tmp_path.glob(".stream-guard-*"))


def test_a_run_that_was_killed_after_its_file_had_its_name_is_done(tmp_path: Path) -> None:
    """The runner had not heard of it yet: the job runs again, and its own output is not in its way."""
    source = with_b_frames(tmp_path, ".mp4")
    done = Attempts(tmp_path, source, tmp_path / "done.mp4")
    assert done.run() == 0
    first, data = done.report, done.output.read_bytes()
    assert done.run() == 0, done.error
    assert done.report == first
    assert done.output.read_bytes() == data
    done.output.unlink()  # as if killed just before: the segments are all there, only joining is left
    assert done.run() == 0, done.error
    assert done.report["frames_out"] == first["frames_out"]
    assert done.output.read_bytes() == data


def test_an_output_that_exists_is_refused_at_once_and_for_good(tmp_path: Path) -> None:
    source = with_b_frames(tmp_path, ".mp4")
    (tmp_path / "there.mp4").write_bytes(b"mine")
    job = Attempts(tmp_path, source, tmp_path / "there.mp4")
    assert job.run() == 2
    assert "exists" in job.error
    assert (tmp_path / "there.mp4").read_bytes() == b"mine"


def test_a_video_beyond_the_limits_is_refused(tmp_path: Path) -> None:
    source = with_b_frames(tmp_path, ".mp4")
    job = Attempts(tmp_path, source, tmp_path / "out.mp4", limits={"width": 200})
    assert job.run() == 2
    assert "320 pixels wide" in job.error


def test_uneven_times_leave_segments_out(tmp_path: Path) -> None:
    source = uneven(tmp_path, ".mp4")
    job = Attempts(tmp_path, source, tmp_path / "out.mp4")
    assert job.run() == 0, job.error
    numbers = [int(path.stem) for path in sorted(job.work.glob("*.segment"))]
    assert numbers != list(range(len(numbers)))
    assert numbers[-1] * 0.4 < 4


def test_a_disk_that_takes_no_more_is_a_failure_that_may_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = with_b_frames(tmp_path, ".mp4")
    whole = Attempts(tmp_path, source, tmp_path / "whole.mp4")
    assert whole.run() == 0
    cut = Attempts(tmp_path, source, tmp_path / "cut.mp4")
    size = max(path.stat().st_size for path in whole.work.glob("*.segment"))
    monkeypatch.setenv("FILE_LIMIT", str(size + 2000))  # each segment fits, the file does not
    assert cut.run() == 1
    assert "choose another place" in cut.error
    assert not cut.permanent
    assert not cut.output.exists()
    assert not list(tmp_path.glob(".stream-guard-*"))
    monkeypatch.setenv("FILE_LIMIT", "")
    assert cut.run() == 0, cut.error
    same(whole, cut)


def test_the_real_stages_remember_nothing_either(tmp_path: Path) -> None:
    """Faces, tracks, held perturbations and the disrupter's engine, on a head that moves."""
    source = tmp_path / "head.mp4"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("libx264", rate=15, options={"bf": "2", "g": "20", "preset": "ultrafast"})
        stream.width, stream.height = 320, 240
        for picture in talking_head(320, 240, 3.0, 15):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    whole = Attempts(tmp_path, source, tmp_path / "whole.mp4", pipeline="protect")
    cut = Attempts(tmp_path, source, tmp_path / "cut.mp4", pipeline="protect")
    whole.spec["segment_seconds"] = cut.spec["segment_seconds"] = 0.9
    assert whole.run() == 0, whole.error
    assert whole.report["protected_faces"] == whole.report["faces"] == 45
    assert cut.run(kill_after_segments=2) == -9
    assert cut.run() == 0, cut.error
    assert any("at picture 27" in note for note in cut.notes), cut.notes
    same(whole, cut)


@pytest.mark.parametrize(("says", "code"), [("fine", 0), ("bad", 3)])
def test_a_screening_job_keeps_its_verdicts_and_writes_nothing(tmp_path: Path, says: str, code: int) -> None:
    source = with_b_frames(tmp_path, ".mp4")
    before = set(tmp_path.iterdir())
    job = Attempts(tmp_path, source, tmp_path / "none.mp4", kind="screen", options={"judge.says": says})
    job.spec["settings"].update({"pipeline": str(job.plugin / "judge.yaml"), "output": ""})
    assert job.run() == code, job.error
    assert job.report["rejected"] == (says == "bad")
    assert job.report["frames"] == 70
    assert set(tmp_path.iterdir()) == before | {job.plugin}
