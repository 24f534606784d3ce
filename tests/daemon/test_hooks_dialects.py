"""What each dialect reads from recorded calls, and what it answers."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.daemon.hooks import ovenmediaengine
from stream_guard.daemon.hooks.messages import Call, Decision, HookError, Ignore, Place, Play, Publish, Unpublish
from stream_guard.daemon.hooks.patterns import fill, stream_settings
from stream_guard.daemon.hooks.service import DIALECTS as MODULES
from tests.daemon import hook_calls as calls

ALLOWED, REFUSED = Decision(True), Decision(False, "the token is wrong", 403)


@pytest.mark.parametrize("dialect", calls.DIALECTS)
def test_publish_unpublish_and_play_are_read(dialect: str) -> None:
    read, settings = MODULES[dialect].read, calls.settings(dialect)
    published = read(calls.PUBLISH[dialect], settings)
    assert isinstance(published, Publish)
    assert published.starts
    assert (published.place.app, published.place.name) == ("live", "key")
    assert ("token", "to/k") in published.place.query
    unpublished = read(calls.UNPUBLISH[dialect], settings)
    assert isinstance(unpublished, Unpublish)
    assert unpublished.place.client == published.place.client
    played = read(calls.PLAY[dialect], settings)
    assert isinstance(played, Play)
    assert (played.place.app, played.place.name, played.place.query) == ("live", "key", ())


def test_a_publisher_cannot_speak_for_nginx() -> None:
    body = calls.nginx("publish", arguments="&app=x&call=publish_done&name=victim&clientid=9").body
    request = MODULES["nginx-rtmp"].read(Call(body), calls.settings("nginx-rtmp"))
    query = (("app", "x"), ("call", "publish_done"), ("name", "victim"), ("clientid", "9"))
    assert request == Publish(Place("live", "key", query, "1"))


def test_what_does_not_concern_us_is_ignored() -> None:
    assert MODULES["nginx-rtmp"].read(calls.nginx("done"), calls.settings("nginx-rtmp")) == Ignore()
    assert MODULES["srs"].read(calls.srs("on_dvr"), calls.settings("srs")) == Ignore()
    assert MODULES["mediamtx"].read(calls.mediamtx("metrics"), calls.settings("mediamtx")) == Ignore()


def test_mediamtx_takes_the_token_from_where_it_comes() -> None:
    for given_as in ({"query": "token=to%2Fk"}, {"token": "to/k", "query": ""}, {"password": "to/k", "query": ""}):
        request = MODULES["mediamtx"].read(calls.mediamtx("publish", **given_as), calls.settings("mediamtx"))
        assert request == Publish(Place("live", "key", (("token", "to/k"),)), starts=False)


def test_answers() -> None:
    def said(dialect: str, call: Call, decision: Decision) -> tuple[int, bytes]:
        answer = MODULES[dialect].answer(call, decision)
        return answer.status, answer.body

    nginx, srs, ome = (calls.PUBLISH[name] for name in ("nginx-rtmp", "srs", "ovenmediaengine"))
    assert said("nginx-rtmp", nginx, ALLOWED) == (200, b"")
    assert said("nginx-rtmp", nginx, REFUSED) == (403, b"the token is wrong")
    assert said("srs", srs, ALLOWED) == (200, b"0")
    assert said("srs", srs, REFUSED) == (403, b"1")
    assert said("mediamtx", calls.mediamtx("publish"), REFUSED) == (401, b"the token is wrong")
    assert said("mediamtx", calls.mediamtx("publish", user="me"), REFUSED)[0] == 403
    assert said("mediamtx", calls.mediamtx_event("ready"), REFUSED)[0] == 403
    status, body = said("ovenmediaengine", ome, ALLOWED)
    assert (status, json.loads(body)) == (200, {"allowed": True, "lifetime": 0})
    status, body = said("ovenmediaengine", ome, REFUSED)
    assert (status, json.loads(body)) == (200, {"allowed": False, "reason": "the token is wrong"})
    assert said("ovenmediaengine", calls.ome("closing"), ALLOWED) == (200, b"{}")


def test_redirects() -> None:
    decision = Decision(True, redirect="rtmp://192.0.2.7/other/key")
    answer = MODULES["nginx-rtmp"].answer(calls.nginx("publish"), decision)
    assert (answer.status, dict(answer.headers)) == (302, {"Location": "rtmp://192.0.2.7/other/key"})
    body = MODULES["ovenmediaengine"].answer(calls.ome(), decision).body
    assert json.loads(body)["new_url"] == "rtmp://192.0.2.7/other/key"


def test_the_signature_of_ovenmediaengine() -> None:
    # Computed by `printf '{"a":1}' | openssl dgst -sha1 -hmac 1234 -binary | basenc --base64url`.
    assert ovenmediaengine.signature(b'{"a":1}', "1234") == "YPRKehSd4ICfE-hBsR773UOObag"
    settings, call = calls.settings("ovenmediaengine"), calls.ome()
    assert ovenmediaengine.authentic(call, settings)
    padded = dataclasses.replace(call, headers={"x-ome-signature": call.headers["x-ome-signature"] + "="})
    assert ovenmediaengine.authentic(padded, settings)
    for wrong in (
        calls.ome(key="another"),
        dataclasses.replace(call, headers={}),
        dataclasses.replace(call, headers={"x-ome-signature": ""}),
        dataclasses.replace(call, headers={"x-ome-signature": "é"}),
        dataclasses.replace(call, body=call.body + b" "),
        dataclasses.replace(call, query=calls.secret()),
    ):
        assert ovenmediaengine.authentic(wrong, settings) == (wrong.headers == call.headers and wrong.body == call.body)


@pytest.mark.parametrize("dialect", ["nginx-rtmp", "mediamtx", "srs"])
def test_the_secret_in_the_url(dialect: str) -> None:
    settings = calls.settings(dialect)
    assert MODULES[dialect].authentic(Call(query=calls.secret()), settings)
    assert MODULES[dialect].authentic(Call(), calls.settings(dialect, secret=""))
    for query in ((), (("secret", ""),), (("secret", "no"),), (("secret", "no"), ("secret", calls.SECRET))):
        assert not MODULES[dialect].authentic(Call(query=query), settings)


@pytest.mark.parametrize("dialect", calls.DIALECTS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"action": 1}',
        b'{"request": "x"}',
        b'{"request": {"direction": "incoming", "url": "http://[x"}}',
        b'{"request": {"direction": "sideways", "url": "rtmp://a/b/c"}}',
        b'{"action": "on_publish", "app": {}, "stream": []}',
        b'{"action": "publish", "path": null}',
        b"\xff\xfe",
        b"[" * 5000,
        b"&".join([b"a=1"] * 100),
    ],
)
def test_bad_calls_are_refused_in_words(dialect: str, body: bytes) -> None:
    with pytest.raises(HookError) as caught:
        MODULES[dialect].read(Call(body), calls.settings(dialect))
    assert str(caught.value)


def test_no_secret_of_a_call_is_printed() -> None:
    for dialect in calls.DIALECTS:
        call = calls.PUBLISH[dialect]
        request = MODULES[dialect].read(call, calls.settings(dialect))
        for shown in (repr(call), repr(request), repr(calls.settings(dialect))):
            assert "to/k" not in shown
            assert "to%2Fk" not in shown
            assert calls.SECRET not in shown


def test_a_pattern_is_filled() -> None:
    place = Place("live", "key", (("a", "b c&d"), ("token", "#")))
    assert fill("rtmp://h/{app}/{name}?{query}", place) == "rtmp://h/live/key?a=b+c%26d&token=%23"
    assert fill("rtmp://h/{app}/{name}?x=1&{query}", Place("live", "key")) == "rtmp://h/live/key?x=1"
    assert fill("rtmp://h/{other}/{name}", Place("live", "{app}")) == "rtmp://h/{other}/{app}"
    settings = stream_settings(calls.settings("srs"), place)
    assert (settings.name, settings.screen) == ("key", False)
    assert settings.outputs[0].url == "rtmp://127.0.0.1:1935/protected/key?key=ours"
    assert stream_settings(calls.settings("srs", outputs=()), place).screen


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=5))
def test_a_publishers_query_stays_in_the_query(fields: list[tuple[str, str]]) -> None:
    url = fill("rtmp://h/{app}/{name}?{query}", Place("live", "key", tuple(fields)))
    assert url.isascii()
    assert not set(url) & set(" #\\\n\r\t\x00<>\"'|")
    assert url.startswith("rtmp://h/live/key")
    assert url.count("?") <= 1
