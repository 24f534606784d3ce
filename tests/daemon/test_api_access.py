"""Who may ask: tokens and roles, hosts and origins; what is sent does not come back."""

from __future__ import annotations

import hashlib
import logging

import httpx
import pytest

from stream_guard.daemon.api import create_app
from stream_guard.daemon.api.access import bearer
from stream_guard.daemon.api.words import clean
from stream_guard.daemon.control import StreamState
from stream_guard.daemon.settings import DaemonSettings, Http, Token
from stream_guard.errors import ConfigError
from tests.daemon.api_server import KEY, READ, TOKENS, WRITE, running
from tests.support.control_fake import FakeControl

GUARDED = ["/v1/streams", "/v1/jobs", "/v1/events", "/v1/about", "/v1/openapi.json", "/v1/x", "/readyz", "/metrics"]
STREAM = {"name": "studio", "source": "rtmp://host/live/x"}


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_an_open_address_without_tokens_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"add a token"):
        create_app(FakeControl(), DaemonSettings(http=Http(address=address)))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_tokens(address: str) -> None:
    assert create_app(FakeControl(), DaemonSettings(http=Http(address=address)))


@pytest.mark.parametrize("token", ['with "quotes" \\ and blanks', "größe-€"])
def test_a_token_is_taken_byte_for_byte(token: str) -> None:
    """Its sum is of what `printf %s TOKEN | sha256sum` saw: the terminal's UTF-8, which the header carries as it is."""
    one = Token(name="odd", role="read", sha256=hashlib.sha256(token.encode()).hexdigest())
    with running(tokens=(one,)) as api:
        for sent, status in ((token, 200), (token[:-1], 401)):
            headers = {"Authorization": b"Bearer " + sent.encode()}
            assert api.http.get("/v1/streams", headers=headers).status_code == status


@pytest.mark.parametrize("path", GUARDED)
def test_nothing_is_shown_without_a_token(path: str) -> None:
    with running(tokens=TOKENS) as api:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {READ}"}):
            answer = api.http.get(path, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_the_page_and_the_liveness_probe_are_open() -> None:
    with running(tokens=TOKENS) as api:
        assert {api.http.get(path).status_code for path in ("/", "/page.js", "/page.css", "/icon.svg", "/livez")} == {
            200
        }


def test_a_token_that_reads_changes_nothing() -> None:
    with running(tokens=TOKENS, token=READ) as api:
        assert api.http.get("/v1/about").json()["role"] == "read"
        for method, path in (("POST", "/v1/streams"), ("PUT", "/v1/streams/a"), ("DELETE", "/v1/jobs/a")):
            answer = api.http.request(method, path, json=STREAM)
            assert (answer.status_code, answer.json()["error"]["allowed"]) == (403, ["write"])
        assert api.control.streams() == []


def test_a_token_that_writes_does_both() -> None:
    with running(tokens=TOKENS, token=WRITE) as api:
        assert api.http.get("/v1/about").json() == {"version": api.http.get("/v1/about").json()["version"]} | {
            "role": "write",
            "token": "write",
        }
        assert api.start().status_code == 201
        assert api.http.get("/readyz").status_code == 200


def test_tokens_are_those_of_the_moment() -> None:
    now = list(TOKENS[:1])
    with running(current=lambda: tuple(now), token=READ) as api:
        assert api.http.get("/v1/about").json()["token"] == "read"
        now[:] = TOKENS[1:]
        assert api.http.get("/v1/about").status_code == 401
        assert api.http.get("/v1/about", headers={"Authorization": f"Bearer {WRITE}"}).json()["role"] == "write"


def test_every_token_is_compared_and_only_the_whole_one_fits() -> None:
    assert [bearer(TOKENS, f"Bearer {given}") for given in (READ, WRITE)] == list(TOKENS)
    for wrong in ("", READ[:-1], READ + "x", TOKENS[0].sha256, "\udcff"):
        assert bearer(TOKENS, f"Bearer {wrong}") is None


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[", "10.0.0.1"])
def test_a_rebound_host_name_is_refused_on_open_loopback(host: str) -> None:
    with running() as api:
        assert api.http.get("/v1/streams", headers={"Host": host}).status_code == 403
    with running(tokens=TOKENS, token=READ) as api:
        assert api.http.get("/v1/streams", headers={"Host": "guard.example.org"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing(headers: dict[str, str]) -> None:
    with running() as api:
        assert api.http.post("/v1/streams", json=STREAM, headers=headers).status_code == 403
        assert api.http.delete("/v1/streams/studio", headers=headers).status_code == 403
        own = {"Origin": api.server.url, "Sec-Fetch-Site": "same-origin"}
        assert api.http.post("/v1/streams", json=STREAM, headers=own).status_code == 201


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_a_form_is_no_json(kind: str | None) -> None:
    with running() as api:
        headers = {} if kind is None else {"Content-Type": kind}
        assert api.http.post("/v1/streams", content=b"{}", headers=headers).status_code == 415


def test_answers_carry_the_headers_that_keep_browsers_careful() -> None:
    with running() as api:
        api.start()
        for path in ("/", "/page.js", "/v1/streams", "/v1/streams/studio/snapshot", "/v1/nothing"):
            headers = api.http.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert "access-control-allow-origin" not in headers
            assert "server" not in headers
        policy = api.http.get("/").headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "script-src 'self'" in policy


BAD_BODIES = [
    {"name": "studio", "source": ["rtmp://host/live/" + KEY]},
    {"name": "studio", "source": f"gopher://user:{KEY}@host/live/a?key={KEY}"},
    {"name": "studio", "source": f"rtmp://host/live/{KEY}", "outputs": [f"rtmp://host/live/{KEY}"]},
    {"name": "studio", "source": "rtmp://host/live/x", "outputs": [{"url": {"a": KEY}, "format": [KEY]}]},
    {"name": KEY + "/", "source": f"rtmp://host/live/{KEY}", "options": {"a": [KEY]}},
    {"name": "studio", "source": "rtmp://host/live/x", "rtmp://host/live/" + KEY: 1},
    {"name": "studio", "source": "rtmp://host/live/x", "source_options": {"headers/" + KEY: {}}},
    {"name": "studio", "source": "rtmp://host/live/x", "on_gap": KEY, "limits": KEY, "stall": KEY},
    [KEY],
    KEY,
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_a_stream_key_in_a_bad_body_comes_back_nowhere(body: object, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with running() as api:
        answers = [
            api.http.request(*where, json=body) for where in (("POST", "/v1/streams"), ("PUT", "/v1/streams/studio"))
        ]
        answers.append(api.http.post("/v1/streams", content=f'{{"source": "{KEY}', headers=JSON))
    assert [answer.status_code for answer in answers] == [422, 422, 400]
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert KEY not in "".join(answer.text + str(answer.headers) for answer in answers) + "\n".join(ours)


JSON = {"Content-Type": "application/json"}


def test_a_key_in_a_query_comes_back_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with running() as api:
        text = "".join(api.http.get(f"{path}?since={KEY}&kind={KEY}").text for path in ("/v1/events", "/v1/x"))
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert KEY not in text + "\n".join(ours)


def test_what_a_worker_says_is_looked_over_once_more() -> None:
    error = f"cannot open rtmp://user:{KEY}@host/live/{KEY}?sign={KEY}: refused"
    state = StreamState(
        name="studio",
        origin="api",
        phase="failed",
        source="",
        started=0,
        error=error,
        status={"deep": [{"error": error}]},
    )
    with running() as api:
        api.control.put(state)
        api.control.tell("error", error, stream="studio", data={"urls": [error]})
        with api.http.stream("GET", "/v1/events") as events:
            first = next(text for text in events.iter_text() if "data:" in text)
        shown = api.http.get("/v1/streams/studio").text + api.http.get("/v1/streams").text
    assert "rtmp://host/live/..." in shown
    assert KEY not in shown + first


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("rtmp://h/live/key", "rtmp://h/live/..."),
        ("rtmp://h:1935/live/a/b?x=1#y rest", "rtmp://h:1935/live/... rest"),
        ("https://u:p@ss@h/a.m3u8?token=1", "https://h/..."),
        ("srt://h:8890?streamid=publish:x:u:p", "srt://h:8890?..."),
        ("http://h#secret", "http://h?..."),
        ("rtmp://h/live/...", "rtmp://h/live/..."),
        ("a file /media/in.mp4 at 3:4", "a file /media/in.mp4 at 3:4"),
    ],
)
def test_urls_are_cut_down(text: str, left: str) -> None:
    assert clean(text) == left


def test_tokens_travel_in_the_header_only() -> None:
    with running(tokens=TOKENS) as api:
        assert api.http.get(f"/v1/streams?token={READ}&access_token={READ}").status_code == 401
        assert httpx.get(f"{api.server.url}/v1/streams", cookies={"token": READ}, trust_env=False).status_code == 401
