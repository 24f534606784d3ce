"""Streams, jobs and probes over HTTP: the right status, the right body, and errors in one shape."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from PIL import Image

from stream_guard.daemon.control import Health, StreamState
from stream_guard.errors import EngineError
from tests.daemon.api_server import Running, running

JOB = {"source": "/media/in.mp4", "output": "/media/out.mp4"}


@pytest.fixture
def api() -> Iterator[Running]:
    with running() as served:
        yield served


def test_a_stream_is_started_listed_shown_and_stopped(api: Running) -> None:
    started = api.start("studio")
    assert (started.status_code, started.headers["location"]) == (201, "/v1/streams/studio")
    assert [stream["name"] for stream in api.http.get("/v1/streams").json()] == ["studio"]
    assert api.http.get(started.headers["location"]).json()["phase"] == "running"
    assert api.http.delete("/v1/streams/studio").json()["phase"] == "draining"
    assert api.http.get("/v1/streams").json() == []


def test_a_name_in_use_conflicts_until_it_is_put_anew(api: Running) -> None:
    api.start("studio")
    assert api.start("studio").status_code == 409
    anew = {"name": "studio", "source": "rtsp://host/other"}
    assert api.http.put("/v1/streams/studio", json=anew).json()["source"] == "rtsp://host/..."
    assert api.http.put("/v1/streams/another", json=anew).status_code == 409


def test_without_headroom_a_stream_is_refused_with_the_time_to_ask_again(api: Running) -> None:
    api.control.most_streams = 0
    refused = api.start("studio")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
    assert "no room" in refused.json()["error"]["message"]


def test_a_stream_of_the_configuration_is_not_stopped_from_here(api: Running) -> None:
    api.control.put(StreamState(name="fixed", origin="config", phase="running", source="", started=0))
    assert api.http.delete("/v1/streams/fixed").status_code == 409


@pytest.mark.parametrize("kind", ["original", "protected", "difference"])
def test_a_snapshot_is_a_jpeg_that_nobody_keeps(api: Running, kind: str) -> None:
    api.start("studio")
    answer = api.http.get("/v1/streams/studio/snapshot", params={"kind": kind})
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("image/jpeg", "no-store")
    assert Image.open(io.BytesIO(answer.content)).size == (480, 270)


def test_a_snapshot_that_is_not_there_yet_is_not_found(api: Running) -> None:
    api.control.put(StreamState(name="new", origin="api", phase="connecting", source="", started=0))
    assert api.http.get("/v1/streams/new/snapshot").status_code == 404


def test_a_job_is_queued_shown_and_cancelled_once(api: Running) -> None:
    queued = api.http.post("/v1/jobs", json=JOB)
    place = queued.headers["location"]
    assert (queued.status_code, place) == (201, f"/v1/jobs/{queued.json()['id']}")
    assert api.http.get(place).json()["phase"] == "running"
    assert api.http.delete(place).json()["outcome"] == "aborted"
    assert api.http.delete(place).status_code == 409
    assert [job["outcome"] for job in api.http.get("/v1/jobs", params={"phase": "ended"}).json()] == ["aborted"]


def test_all_jobs_are_listed_page_by_page(api: Running) -> None:
    queued = [api.http.post("/v1/jobs", json=JOB).json()["id"] for _ in range(5)]
    listed: list[str] = []
    while page := api.http.get("/v1/jobs", params={"limit": 2, **({"before": listed[-1]} if listed else {})}).json():
        listed += [job["id"] for job in page]
    assert listed == queued[::-1]


def test_an_idempotency_key_gives_one_job(api: Running) -> None:
    headers = {"Idempotency-Key": "upload-17"}
    first, again = (api.http.post("/v1/jobs", json=JOB, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert api.http.post("/v1/jobs", json={**JOB, "priority": 3}, headers=headers).status_code == 409
    assert len(api.http.get("/v1/jobs").json()) == 1


def test_readiness_says_why_not(api: Running) -> None:
    assert api.http.get("/readyz").status_code == 200
    api.control.state = Health(ready=False, engine="building", reasons=["TensorRT builds the engine: 40 %"])
    answer = api.http.get("/readyz")
    assert (answer.status_code, answer.json()["engine"]) == (503, "building")
    assert answer.json()["reasons"] == ["TensorRT builds the engine: 40 %"]
    assert api.http.get("/livez").text == "ok\n"


def test_metrics_are_prometheus_text(api: Running) -> None:
    answer = api.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "stream_guard_active_streams 0" in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/streams/nobody", 404, "not_found"),
        ("GET", "/v1/jobs/nobody", 404, "not_found"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("DELETE", "/v1/streams", 405, "method_not_allowed"),
        ("GET", "/v1/streams/bad%20name", 422, "invalid"),
        ("GET", "/v1/jobs?limit=0", 422, "invalid"),
        ("GET", "/v1/jobs?before=nobody", 404, "not_found"),
        ("GET", "/v1/jobs?before=", 422, "invalid"),
        ("GET", "/v1/jobs?phase=resting", 422, "invalid"),
        ("GET", "/v1/events?since=-1", 422, "invalid"),
    ],
)
def test_every_error_has_one_shape(api: Running, method: str, path: str, status: int, code: str) -> None:
    answer = api.http.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"]


def test_what_is_allowed_is_said(api: Running) -> None:
    wrong = api.http.get("/v1/streams/studio/snapshot?kind=both").json()["error"]
    assert wrong["allowed"] == ["original", "protected", "difference"]
    patched = api.http.patch("/v1/streams", json={})
    assert patched.headers["allow"] == "GET, HEAD, POST"
    assert patched.json()["error"]["allowed"] == ["GET", "HEAD", "POST"]
    assert api.http.head("/v1/events").headers["allow"] == "GET"


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/v1/jobs", "/", "/v1/streams/nobody"])
def test_head_is_get_without_the_body(api: Running, path: str) -> None:
    asked, got = api.http.head(path), api.http.get(path)
    assert (asked.status_code, asked.headers["content-length"]) == (got.status_code, got.headers["content-length"])
    assert asked.content == b""


def test_a_slash_too_many_leads_nowhere_else(api: Running) -> None:
    """Behind a proxy that ends TLS, a redirect would lead to http://, and the token with it."""
    assert api.http.get("/v1/streams/").status_code == 404


def test_all_mistakes_of_a_body_come_at_once(api: Running) -> None:
    error = api.start("a b", on_gap="sing", limits={"width": -1}, colour="red").json()["error"]
    assert {problem["where"] for problem in error["problems"]} == {
        "body.name",
        "body.on_gap",
        "body.limits.width",
        "body.colour",
    }


def test_an_error_of_the_engine_is_unavailable_and_an_unforeseen_one_is_told_without_its_words(
    api: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(error: Exception) -> None:
        def streams() -> list[StreamState]:
            raise error

        monkeypatch.setattr(api.control, "streams", streams)

    fails(EngineError("the engine is damaged"))
    assert api.http.get("/v1/streams").status_code == 503
    fails(ZeroDivisionError("rtmp://host/live/secret"))
    answer = api.http.get("/v1/streams")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text + answer.text


def test_a_misspelt_filter_is_refused(api: Running) -> None:
    answer = api.http.get("/v1/jobs?phse=ended")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")
    assert "phase, limit" in answer.json()["error"]["message"]
    assert api.http.get("/livez?t=1").status_code == 200
