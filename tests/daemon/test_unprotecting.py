"""Pipelines that protect nobody: one that restores runs and says so, one that only looks counts no faces."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stream_guard.config import load_pipeline
from stream_guard.daemon.channel import Channel
from stream_guard.daemon.configuration import check_stream
from stream_guard.daemon.jobs.planning import check_job
from stream_guard.daemon.jobs.work import run_job
from stream_guard.daemon.live_worker import run_live
from stream_guard.daemon.settings import JobSettings, StreamSettings, Urls
from stream_guard.daemon.specs import unprotecting
from stream_guard.errors import ConfigError
from tests.support.screening import clip, restoring, screening
from tests.support.servers import web_server

LOOKED_AT = ("stream_guard_faces", "stream_guard_unprotected_frames", "stream_guard_blocked_frames")
Said = list[dict[str, Any]]


def worked(folder: Path, **settings: Any) -> Said:
    """What a job's worker says of the clip."""
    said: Said = []
    spec = {"id": "a", "folder": str(folder / "work"), "segment_seconds": 0.4}
    spec["settings"] = {"source": str(clip(folder / "in.mp4", rough=60)), **settings}
    assert run_job(spec, said.append, threading.Event()) in (0, 3)
    return said


def streamed(folder: Path, **settings: Any) -> Said:
    """What a live stream's worker says of the clip, until that ends."""
    said: Said = []
    channel = SimpleNamespace(send=lambda message, wait=True: said.append(message), stop=threading.Event())
    clip(folder / "in.ts", rough=60)
    with web_server(folder) as url:
        spec = {"name": "one", "source": f"{url}/in.ts", "max_delay": 60, **settings, "urls": {"hosts": ["127.0.0.1"]}}
        run_live({"backoff": {"first": 30}, "end_after_gap": 0.5, **spec}, cast(Channel, channel))
    return said


def told(said: Said, family: str) -> dict[str, float]:
    """The values of a family as told last, by their labels."""
    found: dict[str, float] = {}
    for message in said:
        for name, _, _, samples in message.get("families", ()):
            if name == family:
                found |= {"/".join(labels.values()): value for sample, labels, value in samples if sample.endswith("l")}
    return found


def test_a_screened_file_counts_verdicts_and_no_faces(tmp_path: Path) -> None:
    said = worked(tmp_path, kind="screen", pipeline=str(screening(tmp_path)))
    assert sum(told(said, "stream_guard_verdicts").values()) >= 25
    assert [told(said, name) for name in LOOKED_AT] == [{}, {}, {}]


def test_a_screened_stream_counts_verdicts_and_no_faces(tmp_path: Path) -> None:
    said = streamed(tmp_path, screen=True, pipeline=str(screening(tmp_path)), on_failure="pass")
    assert told(said, "stream_guard_verdicts")
    assert [told(said, name) for name in LOOKED_AT] == [{}, {}, {}]
    assert not [message for message in said if message.get("kind") == "unprotected"]


def test_a_job_restores_and_says_that_nothing_is_protected(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    said = worked(tmp_path, pipeline=str(restoring(tmp_path, "restore")), output=str(out))
    (report,) = [message["report"] for message in json.loads(json.dumps(said)) if message["type"] == "report"]
    assert (report["protected_faces"], report["frames_out"], out.exists()) == (0, 25, True)
    warned = [message["message"] for message in said if message.get("warning")]
    assert warned == report["warnings"][:1]
    assert warned[0].endswith("protects no face (its stages: faces, magdr): what is written is not protected")
    faces = told(said, "stream_guard_faces")
    assert faces.keys() == {"unprotected"}
    assert faces["unprotected"] == report["faces"] > 0


def test_a_stream_restores_and_says_that_nothing_is_protected(tmp_path: Path) -> None:
    record = tmp_path / "out.ts"
    said = streamed(tmp_path, pipeline=str(restoring(tmp_path, "restore")), record=str(record))
    (event,) = [message for message in said if message.get("kind") == "unprotected"]
    assert "what is written is not protected" in event["message"]
    assert told(said, "stream_guard_faces").keys() == {"unprotected"}
    assert record.stat().st_size


@pytest.mark.parametrize("mode", ["restore", "check"])
def test_what_changes_no_face_is_refused_still(tmp_path: Path, mode: str) -> None:
    pipeline = restoring(tmp_path, mode)
    stream = StreamSettings(
        name="one", source="rtmp://127.0.0.1/live/a", record=str(tmp_path / "b.ts"), pipeline=str(pipeline)
    )
    job = JobSettings(source="/a.mp4", output=str(tmp_path / "b.mp4"), pipeline=str(pipeline))
    urls = Urls(hosts=("127.0.0.1",), file_roots=(str(tmp_path),))
    if mode == "restore":
        check_stream(stream, urls)
        check_job(job)
        return
    with pytest.raises(ConfigError, match="add the stage disrupt, or set screen: true to only look"):
        check_stream(stream, urls)
    with pytest.raises(ConfigError, match="add the stage disrupt"):
        check_job(job)


def test_nothing_is_said_of_what_protects() -> None:
    assert unprotecting(load_pipeline("live")) == ""
