"""How much and how long: bodies, requests at once, silent and slow clients, TLS."""

from __future__ import annotations

import contextlib
import gc
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from stream_guard.daemon.api import create_app, guard, serve_app, server
from stream_guard.daemon.control import StreamState
from stream_guard.daemon.settings import DaemonSettings, Http, Tls
from stream_guard.errors import ConfigError, UsageError
from tests.daemon.api_server import Running, running, wait_until
from tests.support.certificates import certified
from tests.support.control_fake import FakeControl

JSON = {"Content-Type": "application/json"}


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 1024):
        yield b" " * 1024


def raw(api: Running, text: str) -> bytes:
    """What the server answers to these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", api.server.port), timeout=30) as connection:
        connection.sendall(text.encode())
        answer = b""
        while received := connection.recv(65536):
            answer += received
        return answer


def test_a_large_body_is_refused_with_and_without_its_length() -> None:
    with running(max_body_bytes=4096) as api:
        fits = json.dumps({"name": "studio", "source": "rtmp://h/live/x"}).encode().ljust(4096)
        assert api.http.post("/v1/streams", content=fits, headers=JSON).status_code == 201
        assert api.http.post("/v1/streams", content=fits + b" ", headers=JSON).status_code == 413
        assert api.http.post("/v1/streams", content=chunks(8192), headers=JSON).status_code == 413
        assert api.http.request("GET", "/v1/streams", content=chunks(8192)).status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [("Content-Type: application/json\r\n", b"413"), ("Content-Type: text/plain\r\n", b"415")],
)
def test_a_client_that_still_sends_gets_its_answer(headers: str, status: bytes) -> None:
    """A connection that is closed with bytes unread is reset, and the answer goes with it."""
    with running(max_body_bytes=1024) as api:
        body = ("8000\r\n" + " " * 0x8000 + "\r\n") * 16 + "0\r\n\r\n"
        head = f"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\n{headers}Transfer-Encoding: chunked\r\n\r\n"
        assert raw(api, head + body).startswith(b"HTTP/1.1 " + status)


def test_an_endless_body_ends_with_the_connection() -> None:
    with running(max_body_bytes=1024) as api:
        head = "POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        answer = raw(api, head + "Transfer-Encoding: chunked\r\n\r\n" + ("400\r\n" + " " * 1024 + "\r\n") * 2)
        assert answer.startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.2)
    with running() as api:
        head = "POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        answer = raw(api, head + "Content-Length: 10\r\n\r\n{")
        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"too_slow"' in answer


@pytest.mark.parametrize(
    "start", ["", "GET /livez HTTP/1.1\r\nHost: loc", "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET"]
)
def test_a_silent_connection_is_closed(start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.2)
    monkeypatch.setattr(server, "IDLE_SECONDS", 1)
    with running() as api:
        assert raw(api, start).count(b"HTTP/1.1") == start.count("\r\n\r\n")


@pytest.mark.parametrize(
    "asks",
    [
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nA: " + "a" * 70_000,
        "POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n",
        "POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        f"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Length: {'9' * 30}\r\n\r\n",
        "POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        "GET /livez HTTP/1.1\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\nGET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=range(8),
)
def test_what_is_no_http_is_answered_as_everything_is(asks: str, caplog: pytest.LogCaptureFixture) -> None:
    with running() as api:
        head, _, body = raw(api, asks).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        for line in (b"content-type: application/json", b"connection: close", b"x-content-type-options: nosniff"):
            assert line in head.lower()
        assert json.loads(body)["error"]["code"] == "bad_request"
    assert not [line for line in caplog.records if line.levelname != "INFO"], "no client writes warnings at will"


def test_a_body_that_goes_wrong_behind_an_answer_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    with running() as api, socket.create_connection(("127.0.0.1", api.server.port), timeout=30) as connection:
        connection.sendall(b"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer = connection.recv(65536)
        connection.sendall(b"no chunk\r\n")
        while received := connection.recv(65536):
            answer += received
    assert (answer.count(b"HTTP/1.1 "), answer.startswith(b"HTTP/1.1 415 ")) == (1, True)
    assert "Fatal error" not in caplog.text
    assert not [line for line in caplog.records if line.levelname != "INFO"]


def test_a_client_that_asks_for_a_websocket_writes_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    asks = "GET /livez HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n"
    with running() as api:
        assert raw(api, asks).startswith(b"HTTP/1.1 200 ")
    assert not [line for line in caplog.records if line.levelname != "INFO"]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"name": "a", "source": "\\ud800"}',
        b'{"name": "a", "source": "rtmp://h/live/x", "stall": NaN}',
        b'{"name": "a", "source": "rtmp://h/live/x", "end_after_gap": Infinity}',
        b'{"name": "a", "source": "rtmp://h/live/x", "stall": 1e999}',
        b'{"name": "a", "source": "rtmp://h/live/x", "restarts": ' + b"9" * 5000 + b"}",
        b'{"name": "a\\u0000", "source": "x"}',
        b'\xff\xfe{"name"',
        b"",
        b"null",
    ],
    ids=range(10),
)
def test_strange_json_is_the_senders_mistake(body: bytes) -> None:
    with running() as api:
        answer = api.http.post("/v1/streams", content=body, headers=JSON)
        assert answer.status_code in (400, 422)
        assert answer.json()["error"]["code"] in ("bad_request", "invalid")


def test_more_requests_than_allowed_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    release, entered = threading.Event(), threading.Semaphore(0)

    def slow() -> list[StreamState]:
        entered.release()
        release.wait(30)
        return []

    with running(max_requests=2) as api:
        monkeypatch.setattr(api.control, "streams", slow)
        waiting = [threading.Thread(target=httpx.get, args=(f"{api.server.url}/v1/streams",)) for _ in range(2)]
        for thread in waiting:
            thread.start()
        assert all(entered.acquire(timeout=30) for _ in waiting)
        refused = api.http.get("/v1/jobs")
        alive = api.http.get("/livez")
        release.set()
        for thread in waiting:
            thread.join()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert alive.status_code == 200
        assert api.http.get("/v1/jobs").status_code == 200


def test_silent_connections_shut_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The liveness probe is answered whoever else has connected and says nothing, and whoever asks is not let go."""
    release, entered = threading.Event(), threading.Event()

    def slow() -> list[StreamState]:
        entered.set()
        release.wait(30)
        return []

    with running(max_requests=1) as api, contextlib.ExitStack() as silent:
        monkeypatch.setattr(api.control, "streams", slow)
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answers.append(httpx.get(f"{api.server.url}/v1/streams", timeout=30)))
        asking.start()
        assert entered.wait(30)
        for _ in range(12):
            connection = socket.create_connection(("127.0.0.1", api.server.port), timeout=30)
            silent.enter_context(connection).sendall(b"GET /livez HT")
        assert httpx.get(f"{api.server.url}/livez", trust_env=False).status_code == 200
        release.set()
        asking.join()
        assert [answer.status_code for answer in answers] == [200]


def test_a_client_that_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SEND_SECONDS", 0.3)
    with running(max_requests=1) as api:
        monkeypatch.setattr(api.control, "metrics", lambda: b"a" * 50_000_000)
        with socket.create_connection(("127.0.0.1", api.server.port), timeout=30) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
            wait_until(lambda: api.http.get("/v1/jobs").status_code == 200)


def test_a_taken_port_is_said_in_words() -> None:
    with running() as api:
        http = Http(port=api.server.port)
        with pytest.raises(UsageError, match=r"choose another http\.address or http\.port"):
            serve_app(create_app(FakeControl(), DaemonSettings()), http).start()


def test_a_server_starts_and_stops_again_and_leaves_no_thread() -> None:
    before = threading.active_count()
    served = serve_app(create_app(FakeControl(), DaemonSettings()), Http(port=0))
    for _ in range(2):
        with served:
            assert httpx.get(f"{served.url}/livez", trust_env=False).status_code == 200
        served.stop()
    wait_until(lambda: threading.active_count() <= before)


@pytest.mark.parametrize("asks", [b"", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_a_server_that_is_knocked_at_leaves_no_connection(asks: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever comes while it ends is let go at once; a connection that is lost fails the test (its ResourceWarning)."""
    over, came = threading.Event(), list[socket.socket]()

    def knock(port: int) -> None:
        with contextlib.suppress(OSError):
            while not over.is_set():
                came.append(socket.create_connection(("127.0.0.1", port), timeout=30))
                came[-1].sendall(asks)

    with running() as api:
        threads = [threading.Thread(target=knock, args=(api.server.port,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(came) >= 100)
    over.set()
    for thread in threads:
        thread.join()
    for connection in came:
        connection.close()
    gc.collect()
    assert "graceful shutdown exceeded" not in caplog.text


def test_a_certificate_that_is_none_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("no certificate")
    for path in ("a.pem", "missing.pem"):
        tls = Tls(certificate=str(tmp_path / path), key=str(tmp_path / path))
        with pytest.raises(ConfigError, match=rf"http\.tls: the certificate '.*{path}' with the key '.*{path}'"):
            serve_app(create_app(FakeControl(), DaemonSettings()), Http(port=0, tls=tls)).start()


def test_a_renewed_certificate_is_given_without_a_restart(tmp_path: Path) -> None:
    certificate, key = certified(tmp_path)
    first = certificate.read_text()
    with running(tls=Tls(certificate=str(certificate), key=str(key))) as api:

        def given() -> str:
            return ssl.get_server_certificate(("127.0.0.1", api.server.port))

        assert given().split() == first.split()
        certified(tmp_path)
        second = certificate.read_text()
        api.server.renew()
        wait_until(lambda: given().split() == second.split())
        certificate.write_text(first)  # its key is gone
        with pytest.raises(ConfigError, match=r"http\.tls"):
            api.server.renew()
        assert given().split() == second.split()


def test_https(tmp_path: Path) -> None:
    certificate, key = certified(tmp_path)
    tls = Tls(certificate=str(certificate), key=str(key))
    with running(tls=tls) as api:
        context = ssl.create_default_context(cafile=str(certificate))
        url = api.server.url.replace("127.0.0.1", "localhost")
        assert url.startswith("https://")
        assert httpx.get(f"{url}/livez", verify=context, trust_env=False).text == "ok\n"


def test_silent_connections_of_tls_are_bounded_before_they_shake_hands(tmp_path: Path) -> None:
    """The one that has been silent longest makes room, and so does one that speaks something else."""
    certificate, key = certified(tmp_path)
    with (
        contextlib.ExitStack() as kept,
        running(tls=Tls(certificate=str(certificate), key=str(key)), max_requests=1) as api,
    ):
        address = "127.0.0.1", api.server.port
        silent = [kept.enter_context(socket.create_connection(address, 30)) for _ in range(4)]
        silent[3].sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"HTTP" not in until_its_end(silent[3])
        silent += [kept.enter_context(socket.create_connection(address, 30)) for _ in range(3)]
        assert [until_its_end(one) for one in silent[:2]] == [b"", b""]
        context = ssl.create_default_context(cafile=str(certificate))
        url = f"https://localhost:{api.server.port}/livez"
        assert httpx.get(url, verify=context, trust_env=False).text == "ok\n"
        assert until_its_end(silent[2]) == b""


def until_its_end(connection: socket.socket) -> bytes:
    """All that comes until the other side ends it."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while more := connection.recv(4096):
            said += more
    return said
