"""What becomes of calls: streams started once and stopped, publishers refused, our own output let through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from stream_guard.daemon.api import create_app, serve_app
from stream_guard.daemon.control import StreamState
from stream_guard.daemon.hooks import Hooks, hooks_router, screening
from stream_guard.daemon.hooks.messages import Answer, Call
from stream_guard.daemon.hooks.patterns import screening_name
from stream_guard.daemon.hooks.screening import judge
from stream_guard.daemon.settings import (
    DaemonSettings,
    HookSettings,
    Http,
    OutputSettings,
    StreamDefaults,
    StreamSettings,
)
from tests.daemon import hook_calls as calls
from tests.daemon.api_server import wait_until
from tests.support.control_fake import FakeControl


class Recording(FakeControl):
    """Also keeps the settings that streams were started with."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[StreamSettings] = []

    def start_stream(self, settings: StreamSettings, origin: Any = "api") -> StreamState:
        state = super().start_stream(settings, origin)
        self.started.append(settings)
        return state


@contextmanager
def hooked(**settings: HookSettings) -> Iterator[tuple[Hooks, Recording]]:
    control = Recording()
    hooks = Hooks(control, settings)
    yield hooks, control
    hooks.close()
    control.close()


def allowed(answer: Answer) -> bool:
    if answer.media_type == "application/json":
        return bool(json.loads(answer.body).get("allowed", True))
    return answer.status < 400 and answer.body in (b"", b"0")


@pytest.mark.parametrize("dialect", calls.DIALECTS)
def test_a_publisher_starts_a_stream_and_its_leaving_ends_it(dialect: str) -> None:
    chosen = StreamDefaults(on_gap="freeze", end_after_gap=30)
    with hooked(h=calls.settings(dialect, stream=chosen)) as (hooks, control):
        assert allowed(hooks.handle("h", calls.PUBLISH[dialect]))
        (started,) = control.started
        assert started.name == "key"
        assert started.source.startswith("rtmp://127.0.0.1:1935/live/key?token=to%2Fk")
        assert started.outputs[0].url == "rtmp://127.0.0.1:1935/protected/key?key=ours"
        assert (started.on_gap, started.end_after_gap) == ("freeze", 30)
        assert control.stream("key").origin == "hook"
        assert allowed(hooks.handle("h", calls.UNPUBLISH[dialect]))
        assert control.streams() == []
        assert allowed(hooks.handle("h", calls.UNPUBLISH[dialect]))


@pytest.mark.parametrize("dialect", calls.DIALECTS)
def test_a_wrong_secret_or_token_starts_nothing(dialect: str) -> None:
    for wrong in ({"secret": "other"}, {"publish_token": "other"}):
        with hooked(h=calls.settings(dialect, **wrong)) as (hooks, control):
            assert not allowed(hooks.handle("h", calls.PUBLISH[dialect]))
            assert control.streams() == []


@pytest.mark.parametrize("dialect", calls.DIALECTS)
def test_the_unprotected_stream_is_played_with_the_token_only(dialect: str) -> None:
    with hooked(h=calls.settings(dialect)) as (hooks, _):
        assert not allowed(hooks.handle("h", calls.PLAY[dialect]))
    with hooked(h=calls.settings(dialect, publish_token="")) as (hooks, _):
        assert allowed(hooks.handle("h", calls.PLAY[dialect]))


def test_our_own_output_passes_and_is_not_protected_again() -> None:
    with hooked(h=calls.settings("nginx-rtmp")) as (hooks, control):
        ours = calls.nginx("publish", client=2, app="protected", arguments="&key=ours")
        assert not allowed(hooks.handle("h", ours))
        hooks.handle("h", calls.nginx("publish"))
        assert allowed(hooks.handle("h", ours))
        assert not allowed(hooks.handle("h", calls.nginx("publish", app="protected", arguments="&key=guessed")))
        assert not allowed(hooks.handle("h", calls.nginx("publish", app="protected", arguments="")))
        assert not allowed(hooks.handle("h", calls.nginx("publish", app="protected", name="x", arguments="&key=ours")))
        assert allowed(hooks.handle("h", calls.nginx("publish_done", client=2, app="protected", arguments="")))
        assert [settings.name for settings in control.started] == ["key"]
        assert [state.name for state in control.streams()] == ["key"]


def test_the_outputs_of_other_streams_pass_too() -> None:
    control = Recording()
    hooks = Hooks(control, {"h": calls.settings("srs")}, lambda: ["rtmp://127.0.0.1/protected/studio?key=of-config"])
    assert allowed(hooks.handle("h", calls.srs("on_publish", app="protected", stream="studio", param="?key=of-config")))
    assert not allowed(hooks.handle("h", calls.srs("on_publish", app="protected", stream="studio", param="")))
    hooks.close()


def test_mediamtx_is_only_asked_for_leave_before_the_stream_is_there() -> None:
    with hooked(h=calls.settings("mediamtx")) as (hooks, control):
        assert allowed(hooks.handle("h", calls.mediamtx("publish")))
        assert control.streams() == []


def test_a_second_publisher_that_the_server_refuses_ends_nothing() -> None:
    with hooked(h=calls.settings("nginx-rtmp")) as (hooks, control):
        hooks.handle("h", calls.nginx("publish", client=1))
        hooks.handle("h", calls.nginx("publish", client=2))
        hooks.handle("h", calls.nginx("publish_done", client=2))
        assert len(control.started) == len(control.streams()) == 1
        hooks.handle("h", calls.nginx("publish_done", client=1))
        assert control.streams() == []


def test_updates_bring_back_what_a_restart_has_forgotten() -> None:
    with hooked(h=calls.settings("nginx-rtmp")) as (hooks, control):
        for _ in range(3):
            assert allowed(hooks.handle("h", calls.nginx("update_publish")))
        assert len(control.started) == 1


def test_a_publisher_who_comes_back_replaces_an_ended_stream() -> None:
    with hooked(h=calls.settings("nginx-rtmp")) as (hooks, control):
        hooks.handle("h", calls.nginx("publish", client=1))
        control.put(control.stream("key").model_copy(update={"phase": "failed"}))
        assert allowed(hooks.handle("h", calls.nginx("update_publish", client=1)))
        assert control.stream("key").phase == "failed"
        assert allowed(hooks.handle("h", calls.nginx("publish", client=2)))
        assert control.stream("key").phase == "running"
        hooks.handle("h", calls.nginx("publish_done", client=1))
        assert control.stream("key").phase == "running"


def test_names_of_others_and_bad_names_are_refused() -> None:
    with hooked(h=calls.settings("nginx-rtmp")) as (hooks, control):
        control.start_stream(StreamSettings(name="key", source="rtmp://h/x"), "api")
        answer = hooks.handle("h", calls.nginx("publish"))
        assert (answer.status, b"other means" in answer.body) == (409, True)
        hooks.handle("h", calls.nginx("publish_done"))
        assert [state.name for state in control.streams()] == ["key"]
        for name in ("", "..", "a/b", "-x", "%2e%2e", "a" * 65, "a%0a", "a%20b", "%c3%a9"):
            assert hooks.handle("h", calls.nginx("publish", name=name)).status == 403


@pytest.mark.parametrize("wrong", [{"source": ""}, {"outputs": (OutputSettings(url="{query}"),)}])
def test_patterns_that_make_no_stream_refuse_the_publisher(wrong: dict[str, Any]) -> None:
    with hooked(h=calls.settings("nginx-rtmp", publish_token="", **wrong)) as (hooks, control):
        answer = hooks.handle("h", calls.nginx("publish", arguments=""))
        assert (answer.status, b"the hook's URL patterns make no stream" in answer.body) == (403, True)
        assert control.streams() == []


@pytest.mark.parametrize("dialect", calls.DIALECTS)
def test_no_headroom_refuses_the_publisher(dialect: str) -> None:
    with hooked(h=calls.settings(dialect)) as (hooks, control):
        control.most_streams = 0
        answer = hooks.handle("h", calls.PUBLISH[dialect])
        assert not allowed(answer)
        if dialect == "nginx-rtmp":
            assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
        control.most_streams = 1
        assert allowed(hooks.handle("h", calls.PUBLISH[dialect]))


def test_redirects_always_or_when_rejected() -> None:
    away = "rtmp://192.0.2.7/{app}/{name}"
    with hooked(h=calls.settings("nginx-rtmp", redirect=away)) as (hooks, _):
        answer = hooks.handle("h", calls.nginx("publish"))
        assert (answer.status, answer.headers["Location"]) == (302, "rtmp://192.0.2.7/live/key")


@pytest.mark.parametrize(("screen", "status"), [("reject", 403), ("route", 302)])
def test_content_that_is_rejected_ends_and_is_refused_or_routed(screen: str, status: int) -> None:
    settings = calls.settings("nginx-rtmp", screen=screen, redirect="rtmp://192.0.2.7/bad/{name}")
    with hooked(h=settings) as (hooks, control):
        hooks.handle("h", calls.nginx("publish", client=1))
        assert [(s.name, s.screen, s.pipeline) for s in control.started] == [
            ("key", False, "live"),
            ("key.screen", True, "screen"),
        ]
        verdicts = {"detect:fake": 40, "detect:real": 3, "detect:unknown": 100}
        control.put(control.stream("key.screen").model_copy(update={"status": {"verdicts": verdicts}}))
        wait_until(lambda: control.streams() == [])
        answer = hooks.handle("h", calls.nginx("publish", client=2))
        assert answer.status == status
        assert control.streams() == []
        assert (screen == "route") == ("Location" in answer.headers)


def test_rejected_names_that_nobody_publishes_again_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screening, "MOST_REMEMBERED", 2)
    with hooked(h=calls.settings("srs", screen="reject")) as (hooks, control):
        for name in ("one", "two", "three"):
            hooks.handle("h", calls.srs("on_publish", stream=name))
            verdicts = {"verdicts": {"detect:fake": 40}}
            control.put(control.stream(f"{name}.screen").model_copy(update={"status": verdicts}))
            wait_until(lambda: control.streams() == [])
            assert not allowed(hooks.handle("h", calls.srs("on_publish", stream=name)))
        assert not allowed(hooks.handle("h", calls.srs("on_publish", stream="two")))


@pytest.mark.parametrize("gone", ["failed", "ended", "stopped"])
def test_nothing_is_published_unseen_when_its_screening_ends(gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screening, "PATIENCE", 2)
    with hooked(h=calls.settings("srs", screen="reject")) as (hooks, control):
        hooks.handle("h", calls.srs("on_publish"))
        if gone == "stopped":
            control.stop_stream("key.screen")
        else:
            control.put(control.stream("key.screen").model_copy(update={"phase": gone}))
        wait_until(lambda: control.streams() == [])
        assert allowed(hooks.handle("h", calls.srs("on_publish")))  # nothing spoke against the content


def test_names_of_screening_streams_are_the_daemons_own() -> None:
    with hooked(h=calls.settings("srs", screen="off")) as (hooks, control):
        assert not allowed(hooks.handle("h", calls.srs("on_publish", stream="key.screen")))
        control.start_stream(StreamSettings(name="key.screen", source="rtmp://h/x"), "hook")
        hooks.handle("h", calls.srs("on_publish"))
        hooks.handle("h", calls.srs("on_unpublish"))
        assert [state.name for state in control.streams()] == ["key.screen"]  # not started for `key`


def test_two_long_names_are_screened_apart() -> None:
    names = {screening_name("a" * 57 + end) for end in ("", "b", "c", "bcdefgh")}
    assert len(names) == 4
    assert all(len(name) <= 64 and name.endswith(".screen") for name in names)
    assert screening_name("key") == "key.screen"


def test_screening_alone_and_screening_that_only_looks() -> None:
    with hooked(h=calls.settings("srs", screen="reject", outputs=())) as (hooks, control):
        hooks.handle("h", calls.srs("on_publish"))
        assert [(s.name, s.screen, s.pipeline) for s in control.started] == [("key", True, "screen")]
        hooks.handle("h", calls.srs("on_unpublish"))
        assert control.streams() == []
    with hooked(h=calls.settings("srs", screen="allow")) as (hooks, control):
        control.most_streams = 1
        assert allowed(hooks.handle("h", calls.srs("on_publish")))
        assert [s.name for s in control.started] == ["key"]
    with hooked(h=calls.settings("srs", screen="reject")) as (hooks, control):
        control.most_streams = 1
        assert not allowed(hooks.handle("h", calls.srs("on_publish")))
        assert control.streams() == []


def test_what_is_rejected() -> None:
    policy = {"detect": ("fake",), "magdr": ("perturbed", "unknown")}
    assert judge({"detect:fake": 30, "detect:real": 20}, policy) == "the stage 'detect' speaks against 30 of 50 faces"
    assert judge({"magdr:perturbed": 30}, policy)
    assert judge({"magdr:perturbed": 30}, {"detect": ("fake",)}) == ""
    for verdicts in ({}, {"detect:fake": 24}, {"detect:unknown": 500}, {"detect:fake": 30, "detect:real": 31}):
        assert judge(verdicts, policy) == ""


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    settings = DaemonSettings(http=Http(port=0))
    with hooked(**OPEN) as (hooks, own):
        app = create_app(own, settings)
        app.include_router(hooks_router(hooks))
        with serve_app(app, settings.http) as server, httpx.Client(base_url=server.url, timeout=60) as client:
            yield client


@pytest.mark.parametrize("dialect", calls.DIALECTS)
def test_over_http(client: httpx.Client, dialect: str) -> None:
    for call in (calls.PUBLISH[dialect], calls.UNPUBLISH[dialect]):
        answer = client.post(f"/hooks/{dialect}", content=call.body, params=call.query, headers=call.headers)
        assert answer.status_code == 200, answer.text
    assert client.get(f"/hooks/{dialect}").status_code == 405
    assert client.post("/hooks/none", content=b"{}").status_code == 404
    assert client.post(f"/hooks/{dialect}", content=b"x" * 20_000).status_code == 413


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([*calls.SRS, *calls.MEDIAMTX, *calls.OME, *calls.OME["request"]])
WORDS = st.sampled_from(["publish", "read", "on_publish", "on_unpublish", "incoming", "closing", "live/key", "live"])
OBJECT = st.dictionaries(KEYS, JSON | WORDS | st.dictionaries(KEYS, JSON | WORDS, max_size=6), max_size=10)
PARTS = st.sampled_from(["call=publish", "app=live", "name=key", "name=%ff", "call=", "&", "=", "%", "x=\x00"])
BODY = (
    st.binary(max_size=200)
    | OBJECT.map(lambda data: json.dumps(data).encode())
    | st.lists(
        st.sampled_from(["call=publish", "app=live", "name=key", "name=%ff", "call=", "&", "=", "%", "x=\x00"])
    ).map(lambda parts: "&".join(parts).encode())
)


QUERY = st.sampled_from(["", "?event=ready", "?event=x", "?event=notready&event=ready", "?%ff=%00"])
OPEN = {name: calls.settings(name, secret="", publish_token="") for name in calls.DIALECTS}


@pytest.mark.parametrize("dialect", calls.DIALECTS)
@given(body=BODY, event=st.sampled_from(["", "ready", "notready", "x"]))
@hypothesis_settings(deadline=None)
def test_any_call_is_answered(dialect: str, body: bytes, event: str) -> None:
    with hooked(**OPEN) as (hooks, _):
        answer = hooks.handle(dialect, Call(body, query=(("event", event),)))
        assert answer.status in (200, 400, 401, 403, 409, 503)


@given(dialect=st.sampled_from(calls.DIALECTS), body=BODY, query=QUERY)
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_call_whatever_ends_in_a_500(client: httpx.Client, dialect: str, body: bytes, query: str) -> None:
    answer = client.post(f"/hooks/{dialect}{query}", content=body)
    assert answer.status_code in (200, 400, 401, 403, 409, 503)


def test_a_web_page_cannot_call_a_hook(client: httpx.Client) -> None:
    for headers in ({"Origin": "http://evil.example.org"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = client.post("/hooks/nginx-rtmp", content=calls.nginx("publish").body, headers=headers)
        assert answer.status_code == 403
