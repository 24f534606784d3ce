"""The queue, its supervisor and real workers together, killed as a whole and started again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import jobs
from tests.support.attempts import Attempts
from tests.support.media import SAME_BITS, Clip, write

from .support import children, is_alive, until

DAEMON = Path(__file__).with_name("job_daemon.py")
ROOT = Path(__file__).resolve().parents[2]


def started(folder: Path, job: dict[str, Any]) -> subprocess.Popen[str]:
    settings = {
        "state_dir": str(folder / "state"),
        "urls": {"file_roots": [str(folder)]},
        "jobs": {"segment_seconds": 0.4},
        "admission": {"cpu_headroom": 0, "memory_headroom": 0},
    }
    path = os.pathsep.join([str(folder / "plugin"), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, str(DAEMON), json.dumps(settings), json.dumps(job)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def messages(child: subprocess.Popen[str]) -> list[dict[str, Any]]:
    assert child.stdout is not None
    with child, child.stdout:
        return [json.loads(line) for line in child.stdout]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_killed_with_all_it_started_it_goes_on_where_it_was(tmp_path: Path) -> None:
    source = write(tmp_path / "clip.mp4", Clip(size=(320, 240), frames=70, options={"bf": "3", "g": "9"}))
    whole = Attempts(tmp_path, source, tmp_path / "whole.mp4")
    assert whole.run() == 0
    job = {
        "source": str(source),
        "output": str(tmp_path / "out.mp4"),
        "pipeline": str(tmp_path / "plugin/remember.yaml"),
        "encoder": SAME_BITS,
    }
    job["options"] = {"remember.slow": 0.03}
    first = started(tmp_path, job)
    assert first.stdout is not None
    name = json.loads(first.stdout.readline())["id"]
    folder = tmp_path / "state" / "segments" / name
    workers: list[int] = []
    with first, first.stdout:
        while not list(folder.glob("*.segment")):
            workers = children(first.pid) or workers
            assert first.stdout.readline()
        first.kill()
    until(lambda: not any(is_alive(pid) for pid in workers), "its worker ends with it")
    assert workers
    assert not (tmp_path / "out.mp4").exists()

    told = messages(started(tmp_path, job))
    assert told[0] == {"id": name, "new": False}
    state = told[-1]["state"]
    assert (state["outcome"], state["attempts"], state["error"]) == ("completed", 2, "")
    assert state["report"]["frames_out"] == 70
    assert 'stream_guard_jobs_total{outcome="completed"} 1.0' in told[-1]["metrics"]
    assert list((tmp_path / "state" / "segments").iterdir()) == []
    one, other = jobs.content(whole.output), jobs.content(tmp_path / "out.mp4")
    assert one.pictures == other.pictures
    assert one.packets == other.packets


def test_a_worker_that_takes_too_much_memory_ends_the_job(tmp_path: Path) -> None:
    source = write(tmp_path / "clip.mp4", Clip(frames=30))
    pipeline = jobs.install(tmp_path / "plugin")
    job = {"source": str(source), "output": str(tmp_path / "out.mp4"), "pipeline": str(pipeline)}
    told = messages(started(tmp_path, {**job, "options": {"remember.slow": 0.5}, "limits": {"memory": 20_000_000}}))
    assert told[-1]["state"]["outcome"] == "killed_memory"
    assert not (tmp_path / "out.mp4").exists()


def test_a_source_that_is_no_video_fails_once_in_words(tmp_path: Path) -> None:
    source = tmp_path / "notes.mp4"
    source.write_text("no video")
    pipeline = jobs.install(tmp_path / "plugin")
    job = {"source": str(source), "output": str(tmp_path / "out.mp4"), "pipeline": str(pipeline)}
    state = messages(started(tmp_path, job))[-1]["state"]
    assert (state["outcome"], state["attempts"]) == ("failed", 1)
    assert "is not a video" in state["error"]
