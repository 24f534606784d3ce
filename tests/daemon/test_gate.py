"""Redirects, playlists and names that change lead nowhere that is not allowed: with FFmpeg and real servers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from av.error import FFmpegError

from stream_guard.daemon.gate import Gate
from stream_guard.daemon.settings import Urls
from stream_guard.daemon.urls import PLAYLIST
from tests.support.gated import INSIDE, Names, answering, write_clip, write_playlist
from tests.support.servers import free_port, web_server


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


def pictures(url: str, gate: Gate) -> int:
    options = {"http_proxy": gate.url, "protocol_whitelist": ",".join(PLAYLIST)}
    with av.open(url, timeout=60, container_options=options) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    write_clip(tmp_path / "clip.ts")
    with web_server(tmp_path) as base:
        yield tmp_path, base.removeprefix("http://")


def test_what_is_allowed_passes(site: tuple[Path, str]) -> None:
    folder, address = site
    write_playlist(folder / "list.m3u8", "clip.ts", f"http://{address}/clip.ts")
    with Gate(Urls(hosts=(address,))) as gate:
        assert pictures(f"http://{address}/clip.ts", gate) == 10
        assert pictures(f"http://{address}/list.m3u8", gate) == 20
        assert gate.refusals == []


@pytest.mark.parametrize(
    "segment", ["http://{other}/clip.ts", "http://169.254.169.254/x.ts", "http://localhost:{port}/x.ts"]
)
def test_a_playlist_leads_nowhere_else(site: tuple[Path, str], segment: str) -> None:
    folder, address = site
    with answering(200, {}) as (other, asked), Gate(Urls(hosts=(address,))) as gate:
        elsewhere = segment.format(other=other, port=other.rpartition(":")[2])
        write_playlist(folder / "list.m3u8", elsewhere, elsewhere)
        with pytest.raises((FFmpegError, IndexError)):
            pictures(f"http://{address}/list.m3u8", gate)
        assert asked == []
        assert gate.refusals


def test_a_source_that_is_down_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """FFmpeg says that the server returned 5XX, where no server was."""
    address = f"127.0.0.1:{free_port()}"
    with Gate(Urls(hosts=(address,))) as gate, pytest.raises(FFmpegError):
        pictures(f"http://{address}/clip.ts", gate)
    assert "host 127.0.0.1 cannot be reached: Connection refused" in caplog.text


def test_a_redirect_leads_nowhere_else(site: tuple[Path, str]) -> None:
    _, address = site
    with answering(200, {}) as (other, asked), answering(302, {"Location": f"http://{other}/metadata"}) as (first, _):
        with Gate(Urls(hosts=(address, first))) as gate:
            with pytest.raises(FFmpegError):
                pictures(f"http://{first}/clip.ts", gate)
            assert asked == []
            assert "is not a public address" in gate.refusals[-1]
        with (
            answering(302, {"Location": f"http://{address}/clip.ts"}) as (second, _),
            Gate(Urls(hosts=(address, second))) as gate,
        ):
            assert pictures(f"http://{second}/clip.ts", gate) == 10


def test_a_name_whose_answer_changes_is_checked_at_every_connection(site: tuple[Path, str]) -> None:
    _, address = site
    port = address.rpartition(":")[2]
    names = Names("93.184.215.14", "127.0.0.1")
    names("x", 80, 1)  # what the check before opening saw
    with Gate(Urls(), names) as gate:
        with pytest.raises(FFmpegError):
            pictures(f"http://{INSIDE}:{port}/clip.ts", gate)
        assert "127.0.0.1" in gate.refusals[-1]
    with Gate(Urls(hosts=(INSIDE,)), Names()) as gate:
        assert pictures(f"http://{INSIDE}:{port}/clip.ts", gate) == 10


def test_tunnels_are_checked_too(site: tuple[Path, str]) -> None:
    _, address = site

    def ask(gate: Gate, text: str) -> bytes:
        with socket.create_connection(("127.0.0.1", int(gate.url.rpartition(":")[2])), 30) as connection:
            connection.sendall(text.encode())
            answer = b""
            while b"\r\n\r\n" not in answer and (more := connection.recv(4096)):
                answer += more
            return answer.split(b"\r\n")[0]

    with Gate(Urls(hosts=(address,))) as gate:
        assert ask(gate, f"CONNECT {address} HTTP/1.1\r\n\r\n") == b"HTTP/1.1 200 Connection established"
        for target in ("127.0.0.1:22", "169.254.169.254:443", "[::1]:443", "x", "127.0.0.1:0", "a@127.0.0.1:443"):
            assert ask(gate, f"CONNECT {target} HTTP/1.1\r\n\r\n") == b"HTTP/1.1 403 Forbidden"
        for request in (f"POST http://{address}/ HTTP/1.1", "GET", "\x00", f"GET http://{address}/ x HTTP/1.1"):
            assert ask(gate, f"{request}\r\n\r\n") == b"HTTP/1.1 400 Bad Request"
        for url in ("/clip.ts", "file:///etc/passwd", "https://127.0.0.1/", "rtmp://127.0.0.1/"):
            assert ask(gate, f"GET {url} HTTP/1.1\r\n\r\n") == b"HTTP/1.1 403 Forbidden"
    with Gate(Urls(hosts=(address,), schemes=("http",))) as gate:
        assert ask(gate, f"CONNECT {address} HTTP/1.1\r\n\r\n") == b"HTTP/1.1 403 Forbidden"


def test_what_is_said_to_the_gate_stays_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Gate(Urls(hosts=("127.0.0.1",))) as gate:
        server.settimeout(30)
        head = f"GET http://127.0.0.1:{server.getsockname()[1]}/a?b HTTP/1.1\r\nHost: a\r\nIcy: 1\r\n"
        with socket.create_connection(("127.0.0.1", int(gate.url.rpartition(":")[2])), 30) as client:
            client.sendall(f"{head}Proxy-Authorization: Basic x\r\nConnection: keep-alive\r\n\r\n".encode())
            source, _ = server.accept()
            with source:
                assert source.recv(4096) == b"GET /a?b HTTP/1.1\r\nConnection: close\r\nHost: a\r\nIcy: 1\r\n\r\n"


def test_an_open_tunnel_ends_with_the_gate() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with Gate(Urls(hosts=("127.0.0.1",))) as gate:
            client = socket.create_connection(("127.0.0.1", int(gate.url.rpartition(":")[2])), 30)
            client.sendall(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert client.recv(100) == b""
        client.close()
