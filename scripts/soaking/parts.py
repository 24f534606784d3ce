"""What the soak runs: a daemon, nginx with its RTMP module, publishers, and a proxy that reads slowly."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
import numpy as np
import yaml
from latency import child, listens, nginx

PATIENCE_SECONDS = 180.0
"""How long a condition may take to come true on a busy machine."""
CLIP_SECONDS = 4.0


class LateError(Exception):
    """A condition did not come true in time: the phase has failed."""


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> float:
    """Wait for it; how long it took, in seconds."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() > began + seconds:
            raise LateError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.1)
    return round(time.monotonic() - began, 1)


# --- pictures ---------------------------------------------------------------------------------------------------------


def make_clip(path: Path, width: int, height: int, rate: int) -> Path:
    """A talking head with a tone, encoded once, so that publishers cost next to nothing."""
    from stream_guard.talking_head import talking_head

    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=rate, options={"preset": "fast", "tune": "zerolatency", "crf": "20"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.gop_size = rate
        sound = out.add_stream("aac", rate=44100, layout="mono")
        for rgb in talking_head(width, height, CLIP_SECONDS, rate):
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")))
        out.mux(video.encode(None))
        for start in range(0, round(CLIP_SECONDS * 44100) - 1024, 1024):
            tone = np.sin(np.arange(start, start + 1024) * (2 * np.pi * 440 / 44100)).astype(np.float32)[None] / 4
            block = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            block.sample_rate, block.pts = 44100, start
            out.mux(sound.encode(block))
        out.mux(sound.encode(None))
    return path


def publish(clip: Path, url: str, *options: str) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """ffmpeg sending the clip in a loop at its own speed; `options` before the output."""
    kind = "mpegts" if url.startswith("udp:") else "flv"
    quiet = ("-hide_banner", "-nostdin", "-loglevel", "error")
    command = ["ffmpeg", *quiet, "-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy", *options, "-f", kind, url]
    return child(command, stderr=subprocess.DEVNULL)


# --- the daemon -------------------------------------------------------------------------------------------------------


class Daemon:
    """`stream-guard serve` as a process, and its API."""

    def __init__(self, folder: Path, port: int, streams: Sequence[dict[str, Any]]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._file = folder / "guard.yaml"
        self._file.write_text(yaml.safe_dump(self._settings(port, streams)))
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self.process: subprocess.Popen[bytes] | None = None

    def _settings(self, port: int, streams: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {
            "state_dir": str(self._folder / "state"),
            "http": {"port": port},
            "urls": {"hosts": ["127.0.0.1"], "file_roots": [str(self._folder)]},
            "admission": {"cpu_headroom": 0, "memory_headroom": 0},
            "defaults": {
                "encoder": {"preset": "ultrafast"},
                "backoff": {"first": 0.2, "most": 2.0},
                "stall": 8,
            },
            "streams": list(streams),
        }

    def start(self) -> float:
        """Start it; seconds until it was ready."""
        with (self._folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stream_guard", "serve", "--config", str(self._file)], stdout=log, stderr=log
            )
        return until(lambda: self.ask("/readyz")[0] == 200, "the daemon to be ready")

    @property
    def pid(self) -> int:
        if self.process is None:
            raise LateError("the daemon was not started")
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def ask(self, path: str, method: str = "GET", body: Any = None) -> tuple[int, str]:
        """Status and answer; 0 where nobody answers."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with self._open(request, timeout=60) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()
        except OSError:
            return 0, ""

    def stream(self, name: str) -> dict[str, Any]:
        """Its state; empty where there is none of the name."""
        code, said = self.ask(f"/v1/streams/{name}")
        return dict(json.loads(said)) if code == 200 else {}

    def status(self, name: str) -> dict[str, Any]:
        return dict(self.stream(name).get("status") or {})

    def add(self, name: str, source: str, *outputs: str, **settings: Any) -> None:
        body = {"name": name, "source": source, "outputs": [{"url": url} for url in outputs], **settings}
        code, said = self.ask("/v1/streams", "POST", body)
        if code not in (200, 201):
            raise LateError(f"the stream {name} was refused with {code}: {said[:300]}")

    def remove(self, name: str) -> None:
        self.ask(f"/v1/streams/{name}", "DELETE")
        until(lambda: self.stream(name).get("phase", "ended") in ("ended", "failed"), f"{name} to end")

    def log(self) -> str:
        return (self._folder / "daemon.log").read_text(errors="replace")


def children(pid: int) -> list[int]:
    """Process ids of a process' children that run."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


# --- a consumer that is slow ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def slow_proxy(target: int) -> Iterator[tuple[int, threading.Event]]:
    """A TCP proxy to a port on loopback: its own port, and an event that makes it take nothing any more while set."""
    stuck, stop = threading.Event(), threading.Event()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.settimeout(0.2)

    def relay(incoming: socket.socket) -> None:
        with incoming, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", target)) as outgoing:
            ways = {incoming: outgoing, outgoing: incoming}
            while not stop.is_set():
                if stuck.is_set():
                    stop.wait(0.1)
                    continue
                for ready in select.select(list(ways), [], [], 0.1)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    ways[ready].sendall(data)

    def accept() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                threads.append(threading.Thread(target=relay, args=(listener.accept()[0],)))
                threads[-1].start()

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    try:
        yield int(listener.getsockname()[1]), stuck
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        listener.close()


@contextlib.contextmanager
def noisy_relay(target: int) -> Iterator[tuple[int, list[int]]]:
    """Hands UDP packets on to a port, some damaged, some not at all: its own port, and how many were damaged, lost."""
    done, stop, chance = [0, 0], threading.Event(), random.Random(1)

    def relay() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                data = bytearray(incoming.recv(65536))
                luck = chance.random()
                if luck < 0.02:
                    done[1] += 1
                    continue
                if luck < 0.1:
                    done[0] += 1
                    for _ in range(5):
                        data[chance.randrange(len(data))] = chance.randrange(256)
                outgoing.sendto(data, ("127.0.0.1", target))

    with socket.socket(type=socket.SOCK_DGRAM) as incoming, socket.socket(type=socket.SOCK_DGRAM) as outgoing:
        incoming.bind(("127.0.0.1", 0))
        incoming.settimeout(0.2)
        thread = threading.Thread(target=relay)
        thread.start()
        try:
            yield int(incoming.getsockname()[1]), done
        finally:
            stop.set()
            thread.join()


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[bool]:
    """A folder that is a file system of 400 KiB, where that may be mounted; whether it is."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    mounted = os.geteuid() == 0 and not subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(place)], check=True)


class Bench:
    """Everything together. Streams `i` are published at live/i and come out at protected/i."""

    def __init__(self, folder: Path, args: Any, rtmp: int, http: int) -> None:
        self.folder, self.args, self.rtmp_port = folder, args, rtmp
        self.clip = make_clip(folder / "clip.flv", args.width, args.height, args.rate)
        always = {"name": "always", "source": self.live("always"), "outputs": [{"url": self.protected("always")}]}
        self.daemon = Daemon(folder, http, [always])
        self._server = ExitStack()
        self._publishers: dict[str, ExitStack] = {}

    def live(self, name: str) -> str:
        return f"rtmp://127.0.0.1:{self.rtmp_port}/live/{name}"

    def protected(self, name: str) -> str:
        return f"rtmp://127.0.0.1:{self.rtmp_port}/protected/{name}"

    def serve(self) -> None:
        """Start the media server, on the same port each time."""
        self._server.enter_context(nginx(self.folder, self.rtmp_port))

    def unserve(self) -> None:
        self._server.close()
        until(lambda: not listens(self.rtmp_port), "nginx to be gone")

    def publish(self, name: str, url: str = "", *options: str) -> None:
        self.unpublish(name)
        stack = self._publishers[name] = ExitStack()
        stack.enter_context(publish(self.clip, url or self.live(name), *options))

    def unpublish(self, name: str) -> None:
        """Kill the publisher of a stream, if there is one."""
        stack = self._publishers.pop(name, None)
        if stack is not None:
            stack.close()

    def begin(self, name: str, *outputs: str, **settings: Any) -> int:
        """Publish and protect a stream, wait for its pictures; the process id of its worker."""
        self.publish(name)
        before = set(children(self.daemon.pid))
        self.daemon.add(name, self.live(name), *(outputs or (self.protected(name),)), **settings)
        self.flows(name)
        return max(set(children(self.daemon.pid)) - before, default=0)

    def end(self, name: str) -> None:
        self.daemon.remove(name)
        self.unpublish(name)

    def flows(self, name: str, more: int = 5) -> float:
        """Wait for this many more pictures to leave; the seconds that it took."""
        before = [0]

        def came() -> bool:
            out = int(self.daemon.status(name).get("frames_out", 0))
            before[0] = min(before[0] or out, out)  # a new worker counts from 0
            return out >= before[0] + more

        try:
            return until(came, f"pictures of {name}")
        except LateError as exc:
            raise LateError(f"{exc}: {self.daemon.stream(name)}") from None

    def close(self) -> None:
        if self.daemon.alive:
            self.daemon.kill()
        for name in list(self._publishers):
            self.unpublish(name)
        self._server.close()


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in sockets]


def gone(pids: Sequence[int]) -> bool:
    """Whether none of these processes runs."""
    return not any(os.path.exists(f"/proc/{pid}") and not zombie(pid) for pid in pids)


def zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
