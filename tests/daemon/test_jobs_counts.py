"""What a job counts: the same in its report and in the metrics of all its attempts together."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from stream_guard.config import OnFailure
from stream_guard.daemon.jobs.counts import Counts
from stream_guard.daemon.jobs.work import run_job
from stream_guard.metrics import Metrics, families
from tests.support import jobs, media, troubles
from tests.support.attempts import Attempts, same, with_b_frames

FRAMES = 70
Sums = Counter[tuple[str, ...]]


def sums(messages: list[dict[str, Any]]) -> Sums:
    """Every counter that an attempt told last, by name and labels; no histograms."""
    told = [message["families"] for message in messages if message["type"] == "metrics"][-1:]
    return Counter(
        {
            (name.removeprefix("stream_guard_"), *labels.values()): value
            for family in (told[0] if told else ())
            for name, labels, value in family[3]
            if name.endswith("_total")
        }
    )


class Job:
    """Attempts at one job in this process; `counted` adds up what they told."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, source: Path, **settings: Any) -> None:
        pipeline = jobs.install(folder / "plugin")
        patch.syspath_prepend(str(folder / "plugin"))
        output = str(folder / f"out{source.suffix}")
        chosen = {"source": str(source), "output": output, "pipeline": str(pipeline), **settings}
        self.spec = {"id": "a", "settings": chosen, "folder": str(folder / "work"), "segment_seconds": 0.4}
        self.counted: Sums = Counter()
        self.report: dict[str, Any] = {}

    def run(self, until: Callable[[dict[str, Any]], bool] = lambda message: False) -> int:
        """An attempt that is asked to stop at the first message of which `until` holds."""
        messages: list[dict[str, Any]] = []
        stop = threading.Event()

        def emit(message: dict[str, Any]) -> None:
            messages.append(json.loads(json.dumps(message)))
            if until(message):
                stop.set()

        code = run_job(self.spec, emit, stop)
        self.counted += sums(messages)
        self.report = next((m["report"] for m in messages if m["type"] == "report"), {})
        return code

    def of(self, name: str) -> dict[str, float]:
        """A counter of all attempts by its labels."""
        return {"/".join(key[1:]): value for key, value in self.counted.items() if key[0] == f"{name}_total"}


def test_counts_come_back_from_json_as_they_were_and_reach_the_metrics() -> None:
    made = Counts(
        7,
        2,
        Counter(protected=3, unprotected=2),
        Counter(too_small=1),
        Counter(engine_failed=1, too_small=4),
        Counter({("detect", "fake"): 2, ("a:b", "c:d"): 5}),
    )
    again = Counts.from_json(json.loads(json.dumps(made.to_json())))
    assert again == made
    again.include(made)
    assert (again.frames, again.protected_faces, again.verdicts["a:b", "c:d"]) == (14, 6, 10)
    metrics = Metrics()
    made.count_in(metrics, OnFailure.BLACK)
    told = {(s[0], *s[1].values()): s[2] for family in families(metrics.registry) for s in family.samples if s[2]}
    assert told["stream_guard_frames_out_total",] == told["stream_guard_frames_in_total",] == 7
    assert told["stream_guard_blocked_frames_total", "too_small", "black"] == 4
    assert told["stream_guard_verdicts_total", "a:b", "c:d"] == 5
    assert told["stream_guard_faces_total", "unprotected"] == 2


@pytest.mark.parametrize("policy", ["block", "pass"])
def test_blocked_and_passed_pictures_and_verdicts_outlive_a_kill(tmp_path: Path, policy: str) -> None:
    source = with_b_frames(tmp_path, ".mp4")
    options = {"options": {"remember.misses": 3, "on_failure": policy}}
    whole = Attempts(tmp_path, source, tmp_path / "whole.mp4", **options)
    assert whole.run() == 0, whole.error
    cut = Attempts(tmp_path, source, tmp_path / "cut.mp4", **options)
    assert cut.run(kill_after_segments=2) == -9
    assert cut.run() == 0, cut.error
    same(whole, cut)
    counts = {"engine_failed": 12, "too_small": 12}
    for report in (whole.report, cut.report):
        assert report["blocked_frames" if policy == "block" else "unprotected_frames"] == counts
        assert report["verdicts"] == {"remember:missed": 24, "remember:seen": 46}
        assert (report["faces"], report["protected_faces"]) == (70, 46)


def all_there(job: Job) -> None:
    """The attempts' metrics together are what the report says of the file."""
    report = job.report
    assert job.of("frames_in") == job.of("frames_out") == {"": report["frames_out"]}
    assert job.of("faces") == {"protected": report["protected_faces"], "unprotected": 24}
    assert job.of("blocked_frames") == {f"{reason}/block": n for reason, n in report["blocked_frames"].items()}
    assert job.of("unprotected_frames") == report["unprotected_frames"]
    assert job.of("verdicts") == {key.replace(":", "/"): n for key, n in report["verdicts"].items()}
    assert job.of("encoded_bytes") == {"": report["sink"]["bytes"]}
    assert job.of("packets_copied").get("", 0) == report["sink"]["packets_copied"]
    assert job.of("source_corrupt_packets").get("", 0) == report["source"]["corrupt_packets"]


@pytest.mark.parametrize("policy", ["block", "pass"])
def test_a_stopped_and_resumed_job_counts_each_picture_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    options = {"remember.misses": 3, "remember.slow": 0.01, "on_failure": policy}
    job = Job(tmp_path, monkeypatch, with_b_frames(tmp_path, ".mp4"), options=options)
    segments = iter(range(100))
    assert job.run(lambda m: m["type"] == "segment" and next(segments) == 2) == 4
    assert 30 <= job.of("frames_out")[""] < FRAMES
    assert job.of("frames_out")[""] % 10 == 0, "whole segments alone"
    assert job.run(lambda m: m["type"] == "segment" and m["number"] == 6) == 4, "before its segments are joined"
    assert job.of("frames_out") == {"": FRAMES}
    assert job.run() == 0
    assert job.report["frames_out"] == FRAMES
    all_there(job)


def test_an_attempt_that_fails_tells_what_it_had_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(tmp_path, monkeypatch, with_b_frames(tmp_path, ".mp4"), options={"remember.misses": 3})

    def fails(message: dict[str, Any]) -> bool:
        if message["type"] == "segment" and message["number"] == 2:
            raise RuntimeError("no room")
        return False

    code = job.run(fails)
    assert (code, job.of("frames_out")) == (1, {"": 30})
    assert job.run() == 0
    all_there(job)


@pytest.fixture
def transparent(tmp_path: Path) -> Path:
    """VP9 with alpha: its packets do not tell all, so it is protected in one go."""
    path = tmp_path / "clip.webm"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libvpx-vp9", rate=25, options={"deadline": "realtime", "cpu-used": "8"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuva420p"
        for index in range(FRAMES):
            picture = media.picture(index, (160, 120)).reformat(format="yuva420p")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def test_a_job_done_in_one_go_counts_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transparent: Path
) -> None:
    options = {"remember.misses": 3, "remember.slow": 0.02, "on_failure": "pass"}
    job = Job(tmp_path, monkeypatch, transparent, options=options)
    assert job.run(lambda message: message.get("frames", 0) > 20) == 4
    assert job.of("frames_out").get("", 0) == 0, "another attempt begins anew"
    assert job.run() == 0
    assert job.report["unprotected_frames"] == {"engine_failed": 12, "too_small": 12}
    all_there(job)


def test_a_screened_file_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = with_b_frames(tmp_path, ".mp4")
    job = Job(tmp_path, monkeypatch, source, kind="screen", output="")
    job.spec["settings"]["pipeline"] = str(tmp_path / "plugin/judge.yaml")
    assert job.run(lambda message: message["type"] == "progress") == 4
    assert job.run() == 0
    assert job.of("verdicts") == {"judge/fine": FRAMES}
    assert job.of("frames_in") == {"": FRAMES}


def test_damage_of_the_source_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(tmp_path, monkeypatch, troubles.corrupt(tmp_path), options={"remember.slow": 0.01})
    assert job.run(lambda message: message["type"] == "segment") == 4
    assert job.run() in (0, 1)
    damage = job.report["source"]["corrupt_packets"] + job.report["source"]["corrupt_frames"]
    assert damage > 0
    assert sum(job.of("source_corrupt_packets").values()) + sum(job.of("source_corrupt_frames").values()) == damage
