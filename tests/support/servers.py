"""Real servers and publishers on loopback, on free ports: nginx with its RTMP module, HTTP, and ffmpeg as a publisher.

Each is a context manager that ends what it started. Tests that use them skip where the program is not installed.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import select
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

RTMP_MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")
PATIENCE_SECONDS = 60.0
"""How long a condition may take to come true on a busy machine."""


def wait_for(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Look again and again until `condition` is true; fails the test, saying `what` was awaited, when it never is."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.02)


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}, which is not installed")
    return found


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running(command: Sequence[str], **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that is ended, by force if need be, and reaped."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


# --- nginx ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Nginx:
    """A running nginx: RTMP applications `live`, `protected` and what `extra` adds; HTTP serves `folder`."""

    rtmp_port: int
    http_port: int
    folder: Path
    process: subprocess.Popen[bytes]

    def rtmp(self, path: str) -> str:
        return f"rtmp://127.0.0.1:{self.rtmp_port}/{path}"

    def http(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http_port}/{path}"

    def streams(self) -> str:
        """The RTMP module's statistics, as XML."""
        import urllib.request

        with urllib.request.urlopen(self.http("stat"), timeout=10) as answer:
            return str(answer.read().decode())


@contextlib.contextmanager
def nginx(
    folder: Path,
    *,
    applications: str = "application live { live on; } application protected { live on; }",
    rtmp_port: int | None = None,
    http_extra: str = "",
) -> Iterator[Nginx]:
    """nginx with its RTMP module in the foreground, one worker, everything it writes below `folder`.

    `applications` are nginx-rtmp's blocks; a port may be given to come back on the same one after a stop.
    """
    executable = program("nginx")
    if not RTMP_MODULE.exists():
        pytest.skip(f"needs nginx's RTMP module at {RTMP_MODULE}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "www").mkdir(exist_ok=True)
    rtmp, web = rtmp_port or free_port(), free_port()
    paths = " ".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"load_module {RTMP_MODULE}; daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid;\n"
        f"error_log {folder}/error.log info; events {{ worker_connections 256; }}\n"
        f"rtmp {{ server {{ listen 127.0.0.1:{rtmp}; chunk_size 4096; {applications} }} }}\n"
        f"http {{ access_log off; {paths} server {{ listen 127.0.0.1:{web}; root {folder}/www;\n"
        f"location /stat {{ rtmp_stat all; }} {http_extra} }} }}\n"
    )
    with running([executable, "-c", str(configuration), "-p", str(folder)], stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: process.poll() is not None or (listening(rtmp) and listening(web)), "nginx to listen")
        assert process.poll() is None, (folder / "error.log").read_text()
        yield Nginx(rtmp, web, folder / "www", process)


# --- publishers -------------------------------------------------------------------------------------------------------

SMALL = ("-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25")
TONE = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25", "-pix_fmt", "yuv420p")
AAC = ("-c:a", "aac", "-b:a", "64k", "-ac", "2")


def publish_command(
    url: str,
    *,
    format: str = "flv",
    inputs: Sequence[str] | None = None,
    audio: bool = True,
    codec: Sequence[str] = X264,
    seconds: float | None = None,
    options: Sequence[str] = (),
) -> list[str]:
    """ffmpeg's command that sends a moving test picture, and a tone with `audio`, to `url` at its own speed."""
    source = inputs if inputs is not None else ["-re", *SMALL, *(["-re", *TONE] if audio else [])]
    limit = [] if seconds is None else ["-t", str(seconds)]
    sound = AAC if audio else ()
    quiet = ("-hide_banner", "-nostdin", "-loglevel", "error")
    return [program("ffmpeg"), *quiet, *source, *codec, *sound, *limit, *options, "-f", format, url]


@contextlib.contextmanager
def publisher(url: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """ffmpeg publishing to `url`; options as for `publish_command`."""
    with running(publish_command(url, **options), stderr=subprocess.DEVNULL) as process:  # type: ignore[arg-type]
        yield process


# --- HTTP and raw TCP -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Python's own HTTP server for the files below `folder`; yields http://127.0.0.1:port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # Readers leave in the middle of a file.
                super().handle()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def tcp_server(serve: Callable[[socket.socket], None], *, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Calls `serve` with each connection, on a thread of its own; yields the port. Connections end with the server."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def one(connection: socket.socket) -> None:
        # A socket that is closed while it is waited for has no number any more: ValueError.
        with (
            contextlib.suppress(OSError, ValueError),
            tls.wrap_socket(connection, server_side=True) if tls else connection as own,
        ):
            connections.append(own)
            serve(own)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=one, args=(connection,)))
                threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def tls_proxy(folder: Path, port: int) -> Iterator[int]:
    """Takes TLS connections and hands them on in the clear to `port` on loopback; yields its own port."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve(connection: socket.socket) -> None:
        """One thread for both directions: an SSL socket must not be read and written at once."""
        with socket.create_connection(("127.0.0.1", port)) as inner:
            connection.setblocking(False)
            while True:
                select.select([connection, inner], [], [], 0.05)
                try:
                    data = connection.recv(65536)
                    if not data:
                        return
                    inner.sendall(data)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
                if select.select([inner], [], [], 0)[0]:
                    data = inner.recv(65536)
                    if not data:
                        return
                    connection.settimeout(10)
                    connection.sendall(data)
                    connection.setblocking(False)

    with tcp_server(serve, tls=context) as own:
        yield own


@contextlib.contextmanager
def http_flv() -> Iterator[str]:
    """A server that answers each request with a live FLV stream for as long as the reader stays; yields the URL."""
    command = publish_command("pipe:1")

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nConnection: close\r\n\r\n")
        with running(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            assert child.stdout is not None
            with child.stdout as pipe:
                while data := pipe.read1(65536):  # type: ignore[union-attr]
                    connection.sendall(data)

    with tcp_server(serve) as port:
        yield f"http://127.0.0.1:{port}/live/key.flv"


# --- RTSP -------------------------------------------------------------------------------------------------------------


class _RtspPlayers:
    """Who gets the RTP packets: functions that send one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.senders: list[Callable[[bytes], object]] = []

    def relay(self, source: socket.socket, stop: threading.Event) -> None:
        source.settimeout(0.1)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                packet = source.recv(65536)
                with self.lock:
                    for send in list(self.senders):
                        try:
                            send(packet)
                        except OSError:
                            self.senders.remove(send)


@contextlib.contextmanager
def rtsp_server(folder: Path) -> Iterator[str]:
    """A small RTSP server with one live H.264 stream, over TCP and UDP as the reader asks; yields its URL."""
    players, stop = _RtspPlayers(), threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtp:
        rtp.bind(("127.0.0.1", 0))
        description = folder / "stream.sdp"
        extra = ("-flags", "+global_header", "-sdp_file", str(description))
        address = f"rtp://127.0.0.1:{rtp.getsockname()[1]}?rtcpport={free_port(socket.SOCK_DGRAM)}"
        relay = threading.Thread(target=players.relay, args=(rtp, stop))
        with publisher(address, format="rtp", audio=False, options=extra):
            wait_for(lambda: description.exists() and "m=video" in description.read_text(), "the description")
            relay.start()
            try:
                with tcp_server(functools.partial(_serve_rtsp, players, description.read_text())) as port:
                    yield f"rtsp://127.0.0.1:{port}/live/key"
            finally:
                stop.set()
                relay.join()


def _serve_rtsp(players: _RtspPlayers, description: str, connection: socket.socket) -> None:
    media = [line for line in description.splitlines() if line.startswith("a=")]
    lines = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=test", "c=IN IP4 127.0.0.1", "t=0 0", "m=video 0 RTP/AVP 96"]
    body = "\r\n".join([*lines, *(m for m in media if "tool" not in m), "a=control:trackID=0", ""])
    out: list[Callable[[bytes], object]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, connection.makefile("rb") as requests:
        udp.bind(("127.0.0.1", 0))
        while first := requests.readline():
            if first[:1] == b"$":  # The reader's RTCP, in between.
                requests.read(int.from_bytes((first + requests.read(3))[2:4], "big"))
                continue
            headers = dict(
                line.decode().strip().split(": ", 1) for line in iter(requests.readline, b"\r\n") if b": " in line
            )
            method, answer, content = first.split()[0].decode(), [f"CSeq: {headers.get('CSeq', '0')}"], ""
            if method == "DESCRIBE":
                content = body
                answer += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
            elif method == "SETUP":
                out[:] = [_rtp_sender(headers["Transport"], connection, udp)]
                transport = headers["Transport"]
                own = udp.getsockname()[1]
                extra = "" if "interleaved" in transport else f";server_port={own}-{own + 1}"
                answer += [f"Transport: {transport}{extra}", "Session: 1;timeout=60"]
            elif method == "OPTIONS":
                answer.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
            connection.sendall(("\r\n".join(["RTSP/1.0 200 OK", *answer, "", ""]) + content).encode())
            if method == "PLAY":
                with players.lock:
                    players.senders.extend(out)
        with players.lock:
            players.senders[:] = [send for send in players.senders if send not in out]


def _rtp_sender(transport: str, connection: socket.socket, udp: socket.socket) -> Callable[[bytes], object]:
    if "interleaved" in transport:
        return lambda packet: connection.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)
    port = int(transport.split("client_port=")[1].split("-")[0])
    return lambda packet: udp.sendto(packet, ("127.0.0.1", port))
