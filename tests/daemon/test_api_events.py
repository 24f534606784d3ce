"""Server-sent events: in order, resumable, filtered, with heartbeats, and bounded."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from stream_guard.daemon.api import events
from stream_guard.daemon.control import Event
from stream_guard.daemon.ring import Ring
from tests.daemon.api_server import READ, TOKENS, Running, running, wait_until


@pytest.fixture
def api() -> Iterator[Running]:
    with running() as served:
        for number in range(3):
            served.control.tell("phase", f"message {number}", stream=f"cam{number}", data={"number": number})
        yield served


def received(answer: httpx.Response, count: int) -> list[dict[str, Any]]:
    """The next events, as what their data holds."""
    found = []
    for line in answer.iter_lines():
        if line.startswith("data: "):
            found.append(json.loads(line[6:]))
        if len(found) == count:
            break
    return found


def test_events_come_in_order_and_as_they_happen(api: Running) -> None:
    with api.http.stream("GET", "/v1/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(5)][::2] == ["retry: 3000", "id: 1", f"data: {_json(api.control.told[0])}"]
        api.control.tell("verdict", "something new\nin two lines", stream="cam0")
        while (line := next(lines)) != "id: 4":
            assert line is not None
        assert next(lines) == "event: verdict"
        assert json.loads(next(lines)[6:])["message"] == "something new\nin two lines"


def _json(event: Event) -> str:
    fields = ("id", "time", "kind", "message", "stream", "job", "data")
    return json.dumps({field: getattr(event, field) for field in fields})


@pytest.mark.parametrize(("query", "headers"), [("?since=2", {}), ("", {"Last-Event-ID": "2"})])
def test_a_listener_goes_on_where_it_was(api: Running, query: str, headers: dict[str, str]) -> None:
    with api.http.stream("GET", f"/v1/events{query}", headers=headers) as answer:
        assert [event["id"] for event in received(answer, 1)] == [3]


@pytest.mark.parametrize("last", ["abc", "-1", "9" * 30, ""])
def test_a_strange_last_number_is_survived(api: Running, last: str) -> None:
    with api.http.stream("GET", "/v1/events", headers={"Last-Event-ID": last}) as answer:
        assert answer.status_code == 200


def test_events_of_one_stream(api: Running) -> None:
    with api.http.stream("GET", "/v1/events?stream=cam1") as answer:
        assert [event["stream"] for event in received(answer, 1)] == ["cam1"]


def test_silence_is_filled_with_comments(api: Running) -> None:
    with api.http.stream("GET", "/v1/events?since=3") as answer:
        lines = answer.iter_lines()
        assert ":" in [next(lines) for _ in range(4)]


def test_a_listener_whose_token_is_taken_away_hears_nothing_more() -> None:
    now = list(TOKENS)
    with running(current=lambda: tuple(now), token=READ) as api, api.http.stream("GET", "/v1/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 3000"
        now.pop(0)
        api.control.tell("phase", "said to others")
        assert "said to others" not in "".join(lines)  # which end


def test_a_listener_that_goes_leaves_nothing_behind(api: Running) -> None:
    with api.http.stream("GET", "/v1/events") as answer:
        lines = answer.iter_lines()  # held: lines that nobody holds close the connection when they are collected
        next(lines)
        wait_until(lambda: api.control.listening == 1)
    wait_until(lambda: api.control.listening == 0)


def test_listeners_are_bounded_and_do_not_take_the_place_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_LISTENERS", 2)
    with running(max_requests=1) as api:
        with api.http.stream("GET", "/v1/events"), api.http.stream("GET", "/v1/events"):
            wait_until(lambda: api.control.listening == 2)
            full = api.http.get("/v1/events")
            assert (full.status_code, full.json()["error"]["code"]) == (429, "too_many")
            assert api.http.get("/v1/streams").status_code == 200
        wait_until(lambda: api.control.listening == 0)
        with api.http.stream("GET", "/v1/events") as answer:
            assert answer.status_code == 200


@pytest.mark.parametrize("hours", [1, -1])
def test_a_listener_goes_on_over_a_restart_of_the_daemon(hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the clock was set back meanwhile."""
    before = Ring().publish("phase", "the last before the restart").id
    later = time.time() + 3600 * hours
    monkeypatch.setattr(time, "time", lambda: later)
    after = Ring()
    after.publish("phase", "the first after it")
    after.close()
    assert [event.message for event in after.read(since=before) if event] == ["the first after it"]


def test_the_stream_ends_when_the_daemon_drains(api: Running) -> None:
    with api.http.stream("GET", "/v1/events") as answer:
        lines = answer.iter_lines()
        while next(lines) != "id: 3":
            pass
        api.control.close()
        assert [line for line in lines if line.startswith("id")] == []
    wait_until(lambda: api.control.listening == 0)


def test_a_stopping_server_ends_its_listeners() -> None:
    before = threading.active_count()
    with running(tokens=TOKENS, token=READ) as api:
        with api.http.stream("GET", "/v1/events") as answer:
            wait_until(lambda: api.control.listening == 1)
            api.server.stop()
            assert answer.status_code == 200
        assert api.control.listening == 0
    wait_until(lambda: threading.active_count() <= before)
