"""Real servers and publishers on loopback, on free ports: nginx with its RTMP module, HTTP, and ffmpeg as a publisher.

Each is a context manager that ends what it started. Tests that use them skip where the program is not installed.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
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
        with contextlib.suppress(OSError):
            serve(tls.wrap_socket(connection, server_side=True) if tls else connection)
        with contextlib.suppress(OSError):
            connection.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
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
