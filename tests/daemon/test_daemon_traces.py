"""Traces of real workers: a live stream and a job of one daemon send theirs to a receiver on loopback."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_guard import otlp
from stream_guard.daemon.configuration import load_settings
from stream_guard.daemon.daemon import Daemon
from stream_guard.daemon.settings import DaemonSettings, JobSettings
from stream_guard.errors import ConfigError
from tests.support import jobs
from tests.support.media import Clip, write
from tests.support.otlp import Receiver, receiver
from tests.support.servers import web_server

from .support import children, until

ROOT = Path(__file__).resolve().parents[2]
SECRET = "secretkey"

Start = Callable[..., Daemon]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts daemons whose workers know the pipeline `remember`; ends them."""
    jobs.install(tmp_path / "plugin")
    monkeypatch.syspath_prepend(str(tmp_path / "plugin"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "plugin"), str(ROOT)]))
    made: list[Daemon] = []

    def _start(endpoint: str, *streams: dict[str, Any], **metrics: Any) -> Daemon:
        settings = {
            "state_dir": str(tmp_path / "state"),
            "urls": {"hosts": ["127.0.0.1"], "file_roots": [str(tmp_path)]},
            "jobs": {"segment_seconds": 0.4},
            "admission": {"cpu_headroom": 0, "memory_headroom": 0},
            "metrics": {"tracing": endpoint, **metrics},
            "streams": streams,
        }
        daemon = Daemon(DaemonSettings.model_validate(settings))
        made.append(daemon)
        daemon.start()
        return daemon

    yield _start
    for daemon in made:
        daemon.close()
    assert not children()


def job(folder: Path, **changes: Any) -> JobSettings:
    source = write(folder / "clip.mp4", Clip(frames=30, options={"g": "10"}))
    chosen = {"source": str(source), "output": str(folder / "out.mp4"), **changes}
    return JobSettings.model_validate({"pipeline": str(folder / "plugin/remember.yaml"), **chosen})


def ended(daemon: Daemon, settings: JobSettings) -> str:
    """Do the job; its outcome."""
    state, _ = daemon.submit(settings)
    until(lambda: daemon.job(state.id).phase == "ended", "the job to end")
    return daemon.job(state.id).outcome


def inside(there: Receiver, parent: str) -> set[str]:
    return {span.name for span in there.spans if span.parent == parent}


def test_a_job_tells_its_segments_and_a_picture(start: Start, tmp_path: Path) -> None:
    with receiver() as there:
        daemon = start(there.url)
        assert ended(daemon, job(tmp_path)) == "completed"
    (work,) = there.named("job")
    assert work.attributes["job.kind"] == "protect"
    assert work.attributes["job.id"] == daemon.jobs()[0].id
    assert not work.failed
    segments = there.named("segment")
    assert [span.attributes["segment.number"] for span in segments] == list(range(len(segments)))
    assert len(segments) >= 2
    assert inside(there, work.id) == {"segment", "join"}
    assert all(work.started <= span.started <= span.ended <= work.ended for span in segments)
    first = min(there.named("frame"), key=lambda span: span.started)
    assert first.links == (work.id,)
    assert inside(there, first.id) == {"decode", "remember", "encode"}
    named = work.resource
    assert (named["service.name"], named["stream_guard.stream"]) == ("stream-guard", "jobs")


def test_a_job_that_screens_tells_its_stage(start: Start, tmp_path: Path) -> None:
    with receiver() as there:
        daemon = start(there.url)
        judge = str(tmp_path / "plugin/judge.yaml")
        assert ended(daemon, job(tmp_path, kind="screen", output="", pipeline=judge)) == "completed"
    assert there.named("job")[0].attributes["job.kind"] == "screen"
    assert inside(there, there.named("frame")[0].id) == {"judge"}


@pytest.mark.parametrize(("metrics", "label"), [({}, "studio"), ({"stream_label": False}, None)])
def test_a_stream_tells_connections_and_pictures_and_no_url(
    start: Start, tmp_path: Path, metrics: dict[str, Any], label: str | None
) -> None:
    write(tmp_path / f"{SECRET}.ts", Clip(frames=30))
    with receiver() as there, web_server(tmp_path) as site:
        stream = {
            "name": "studio",
            "source": f"{site}/{SECRET}.ts?token={SECRET}",
            "record": str(tmp_path / "record.mkv"),
            "pipeline": str(tmp_path / "plugin/remember.yaml"),
            "backoff": {"first": 0.05, "most": 0.1},
        }
        daemon = start(there.url, stream, **metrics)
        until(lambda: daemon.stream("studio").status.get("reconnects", 0) >= 1, "the stream to come again")
        daemon.drain()  # the worker has sent its spans before it ends
    names = [span.name for span in sorted(there.spans, key=lambda span: span.started)]
    first = [name for name in names if name.startswith("stream.")][:5]
    assert first == [f"stream.{name}" for name in ("loading", "connecting", "running", "gap", "running")]
    assert "connect" in inside(there, there.named("stream.gap")[0].id)
    followed = next(span for span in there.named("frame") if "frame.dropped" not in span.attributes)
    assert inside(there, followed.id) == {"wait", "remember", "encode"}
    assert {span.resource.get("stream_guard.stream") for span in there.spans} == {label}
    assert SECRET.encode() not in there.raw
    assert site.encode() not in there.raw


@pytest.mark.parametrize("trouble", [{"status": 500}, {"silent": True}], ids=["refuses", "silent"])
def test_a_receiver_in_trouble_costs_a_job_nothing_and_is_logged_once(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture, trouble: dict[str, Any]
) -> None:
    with receiver(**trouble) as there, caplog.at_level(logging.WARNING, "stream_guard"):
        daemon = start(f"{there.url}/{SECRET}")
        assert ended(daemon, job(tmp_path)) == "completed"
    assert there.requests >= 1
    said = [record.getMessage() for record in caplog.records if "spans" in record.getMessage()]
    assert len(said) == 1
    assert "could not be sent to the endpoint of metrics.tracing" in said[0]
    assert SECRET not in caplog.text


def test_a_receiver_in_trouble_is_an_event_of_the_stream(start: Start, tmp_path: Path) -> None:
    write(tmp_path / "clip.ts", Clip(frames=30))
    with receiver(status=403), receiver(status=403) as there, web_server(tmp_path) as site:
        stream = {
            "name": "studio",
            "source": f"{site}/clip.ts",
            "screen": True,
            "pipeline": str(tmp_path / "plugin/judge.yaml"),
            "backoff": {"first": 0.05, "most": 0.1},
        }
        daemon = start(there.url, stream)
        until(lambda: daemon.stream("studio").status.get("frames_out", 0) >= 30, "pictures")
        daemon.drain()
        events = [event for event in daemon.events() if event is not None]
    told = [event for event in events if event.kind == "tracing"]
    assert [event.stream for event in told] == ["studio"]
    assert "could not be sent" in told[0].message


def test_a_file_with_a_wrong_endpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "guard.yaml"
    path.write_text(f"metrics:\n  tracing: grpc://{SECRET}@collector:4317\n")
    with pytest.raises(ConfigError, match=r"guard\.yaml:2:\d+: tracing needs an http or https URL") as raised:
        load_settings(path, {})
    assert SECRET not in str(raised.value)


def test_a_file_that_asks_for_traces_without_the_extra_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "guard.yaml"
    path.write_text("metrics: {tracing: http://127.0.0.1:4318}\n")
    assert load_settings(path, {}).metrics.tracing == "http://127.0.0.1:4318"
    monkeypatch.setattr(otlp, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"guard\.yaml:1:.*pip install 'stream-guard\[otel\]'"):
        load_settings(path, {})
