"""What FFmpeg connects to is what was checked, at every connection: with FFmpeg and real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from stream_guard.daemon.dialing import Dialer, application, dialing
from stream_guard.daemon.settings import OutputSettings, StreamSettings, Urls
from stream_guard.errors import MediaError, SinkError, SourceError
from stream_guard.media import LiveOutput, open_live
from stream_guard.media.live.places import Place
from tests.support.gated import INSIDE, Names, answering, write_clip, write_playlist
from tests.support.servers import web_server

NETWORK = Urls(hosts=("127.0.0.0/8",))
"""Names are allowed where they lead here; none is listed itself."""


def settings(source: str, *outputs: str) -> StreamSettings:
    return StreamSettings(name="a", source=source, outputs=tuple(OutputSettings(url=url) for url in outputs))


@contextmanager
def hearing(*, handshake: bool = False) -> Iterator[tuple[int, list[bytes]]]:
    """The port of a server that takes one call, and what it heard; with the `handshake` of RTMP."""
    heard: list[bytes] = []

    def listen() -> None:
        with suppress(OSError), server.accept()[0] as caller:
            caller.settimeout(30)
            if handshake:
                came = caller.recv(1537, socket.MSG_WAITALL)
                caller.sendall(b"\x03" + bytes(1536) + came[1:])
                caller.recv(1536, socket.MSG_WAITALL)
            heard.append(caller.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        thread = threading.Thread(target=listen)
        thread.start()
        yield server.getsockname()[1], heard
        thread.join()


def told(url: str, dialer: Dialer | None, port: int, heard: list[bytes]) -> bytes:
    """FFmpeg's first words of RTMP as a source of `url`, without the marks between its chunks."""
    with pytest.raises(SourceError):
        open_live(url.format(port=port), open_timeout_seconds=20, **({"dial": dialer.source} if dialer else {}))
    return heard[0].replace(b"\xc3", b"")


@pytest.mark.parametrize("path", ["live/key?token=1", "live/room/key", "live/mp4:room/key", "only", "ondemand/a/b"])
def test_rtmp_goes_to_the_checked_address_and_says_the_name(path: str) -> None:
    with hearing(handshake=True) as (port, heard):
        dialer = Dialer(NETWORK, {}, Names())
        said = told(f"rtmp://{INSIDE}:{{port}}/{path}", dialer, port, heard)
    with hearing(handshake=True) as (other, heard):
        usual = told(f"rtmp://127.0.0.1:{{port}}/{path}", None, other, heard)
    assert f"rtmp://{INSIDE}:{port}/{application(path)}".encode() in said
    assert f"rtmp://127.0.0.1:{other}/{application(path)}".encode() in usual


def test_an_output_of_rtmp_says_the_name_too() -> None:
    with hearing(handshake=True) as (port, heard):
        url = f"rtmp://{INSIDE}:{port}/live/key"
        with pytest.raises(MediaError):
            Place(LiveOutput(url), Dialer(NETWORK, {}, Names()).output).open()
    assert f"rtmp://{INSIDE}:{port}/live".encode() in heard[0].replace(b"\xc3", b"")


def test_other_protocols_get_the_address_with_all_else_of_the_url() -> None:
    source, output = Dialer(NETWORK, {}, Names()).source, Dialer(NETWORK, {}, Names()).output
    assert source("rtsp://u:p@cam.org/a?b", {"x": "y"}) == ("rtsp://u:p@127.0.0.1/a?b", {"x": "y"})
    assert output("srt://cam.org:9000?streamid=a", {}) == ("srt://127.0.0.1:9000?streamid=a", {})
    assert output("udp://cam.org:9000", {}) == ("udp://127.0.0.1:9000", {})
    in_six = Dialer(Urls(hosts=("2001:db8::/32",)), {}, Names("2001:db8::7"))
    assert in_six.output("udp://cam.org:9000", {}) == ("udp://[2001:db8::7]:9000", {})


@pytest.mark.parametrize("url", ["rtsp://10.1.1.1/a", "rtsps://cam.org/a", "rtmp://listed.org/live/a"])
def test_addresses_tls_and_listed_names_stay(url: str) -> None:
    urls = Urls(hosts=("127.0.0.0/8", "10.0.0.0/8", "listed.org"))
    assert Dialer(urls, {}, Names()).source(url, {}) == (url, {})


@pytest.mark.parametrize("scheme", ["rtmp", "rtsp", "rtsps", "udp", "srt"])
def test_a_name_that_leads_elsewhere_later_is_refused_then(scheme: str) -> None:
    dialer = Dialer(Urls(), {}, Names("93.184.215.14", "127.0.0.1"))
    url = f"{scheme}://cam.org:9000/live/secretkey"
    dialer.source(url, {})
    with pytest.raises(SourceError, match="not a public address") as refused:
        dialer.source(url, {})
    assert "secretkey" not in str(refused.value)
    with pytest.raises(SinkError, match="not a public address"):
        dialer.output(url, {})


def test_a_source_that_now_leads_elsewhere_is_not_connected_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as inside:
        inside.setblocking(False)
        url = f"rtmp://{INSIDE}:{inside.getsockname()[1]}/live/key"
        with pytest.raises(SourceError, match="not a public address"):
            open_live(url, dial=Dialer(Urls(), {}, Names()).source)
        with pytest.raises(SinkError, match="not a public address"):
            Place(LiveOutput(url), Dialer(Urls(), {}, Names()).output).open()
        with pytest.raises(BlockingIOError):
            inside.accept()


def test_each_connection_takes_the_next_address() -> None:
    """One of them may be out of reach, such as IPv6 where there is none."""

    def resolve(host: str, port: int, type: int) -> list[object]:
        return [(0, type, 6, "", (address, port)) for address in ("127.0.0.1", "127.0.0.2")]

    dialer = Dialer(NETWORK, {}, resolve)
    hosts = [dialer.source("rtsp://cam.org/a", {})[0] for _ in range(3)]
    assert hosts == ["rtsp://127.0.0.1/a", "rtsp://127.0.0.2/a", "rtsp://127.0.0.1/a"]


def test_rtmps_keeps_its_name_and_goes_through_a_gate() -> None:
    """What comes through the gate is TLS for the very name."""
    for purpose in ("source", "output"):
        with hearing() as (port, heard):
            url = f"rtmps://{INSIDE}:{port}/live/key"
            chosen = settings(url) if purpose == "source" else settings("rtmp://cam.org/live/a", url)
            with dialing(chosen, NETWORK, Names()) as dialer:
                place = Place(LiveOutput(url), dialer.output)
                with pytest.raises(MediaError):
                    open_live(url, dial=dialer.source) if purpose == "source" else place.open()
        assert INSIDE.encode() in heard[0]
        assert heard[0][:1] == b"\x16"


def test_rtmps_that_leads_elsewhere_is_not_connected_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as inside:
        inside.setblocking(False)
        url = f"rtmps://{INSIDE}:{inside.getsockname()[1]}/live/key"
        with dialing(settings(url), Urls(), Names()) as dialer, pytest.raises(SourceError):
            open_live(url, dial=dialer.source)
        with pytest.raises(BlockingIOError):
            inside.accept()


def test_the_gate_of_rtmps_opens_no_other_tunnels() -> None:
    only_https = Urls(hosts=("127.0.0.1",), schemes=("https",))
    with socket.create_server(("127.0.0.1", 0)) as inside:
        url = f"rtmps://127.0.0.1:{inside.getsockname()[1]}/live/key"
        with dialing(settings(url), only_https) as dialer, pytest.raises(SourceError):
            open_live(url, dial=dialer.source)


def test_a_streams_http_source_is_read_through_a_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`no_proxy` must not lead past it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    write_clip(tmp_path / "clip.ts")
    with web_server(tmp_path) as base, answering(200, {}) as (other, asked):
        write_playlist(tmp_path / "bad.m3u8", f"http://{other}/x.ts", f"http://{other}/y.ts")
        chosen = settings(f"{base}/clip.ts")
        with dialing(chosen, Urls(hosts=(base.removeprefix("http://"),))) as dialer:
            own = {"user_agent": "x"}
            assert dialer.source(chosen.source, own)[1]["user_agent"] == "x"
            with open_live(chosen.source, options=own, open_timeout_seconds=60, dial=dialer.source) as source:
                assert source.info.video.width == 64
            with pytest.raises(SourceError):
                open_live(f"{base}/bad.m3u8", open_timeout_seconds=60, dial=dialer.source)
        assert asked == []


def test_a_redirect_of_rtsp_is_not_followed() -> None:
    """FFmpeg checks the whitelist anew before it follows one, and that has no `rtsp`."""
    with socket.create_server(("127.0.0.1", 0)) as inside, socket.create_server(("127.0.0.1", 0)) as outside:
        inside.setblocking(False)
        location = b"Location: rtsp://127.0.0.1:%d/x" % inside.getsockname()[1]

        def lead_away() -> None:
            with outside.accept()[0] as caller, caller.makefile("rb") as lines:
                for number, status in ((1, b"200 OK"), (2, b"302 Found")):
                    while lines.readline().strip():
                        pass
                    caller.sendall(b"RTSP/1.0 %s\r\nCSeq: %d\r\n%s\r\n\r\n" % (status, number, location))
                lines.read()

        server = threading.Thread(target=lead_away)
        server.start()
        with pytest.raises(SourceError):
            open_live(f"rtsp://127.0.0.1:{outside.getsockname()[1]}/a")
        server.join()
        with pytest.raises(BlockingIOError):
            inside.accept()
