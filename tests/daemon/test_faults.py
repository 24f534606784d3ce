"""Faults through the whole daemon, from the API to nginx: what must go on goes on, and no picture is unaccounted for.

scripts/soak.py does the same at length, with more faults; single parts have tests of their own.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream_guard.talking_head import portrait
from tests.support.servers import Nginx, free_port, nginx, publisher, wait_for

from .real import LONG, Real, serving
from .support import children

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]
Publish = Callable[[str], contextlib.AbstractContextManager[object]]


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    """Publishes a face, 10 pictures a second."""
    portrait().resize((160, 160)).save(tmp_path / "face.png")
    inputs = ["-re", "-framerate", "10", "-loop", "1", "-i", str(tmp_path / "face.png")]
    return lambda url: publisher(url, inputs=inputs, audio=False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Nginx]:
    with nginx(tmp_path / "nginx") as running:
        yield running


def worker(daemon: Real) -> int:
    """The process of the only stream."""
    found: list[int] = []

    def alone() -> bool:
        found[:] = children(daemon.process.pid)
        return len(found) == 1

    wait_for(alone, "one worker", LONG)
    return found[0]


def unprotected(daemon: Real) -> list[str]:
    lines = daemon.client.get("/metrics").text.splitlines()
    return [line for line in lines if line.startswith("stream_guard_unprotected_frames_total{")]


def test_a_publisher_that_is_killed(tmp_path: Path, server: Nginx, publish: Publish) -> None:
    with serving(tmp_path) as daemon:
        with publish(server.rtmp("live/key")):
            daemon.add("one", server.rtmp("live/key"), server.rtmp("protected/key"))
            daemon.flows("one")
        daemon.until("one", "gap")
        wait_for(lambda: daemon.state("one")["status"]["filled"] > 5, "pictures that fill the gap", LONG)
        with publish(server.rtmp("live/key")):
            daemon.until("one", "running")
            daemon.flows("one")
            state = daemon.state("one")
        assert (state["restarts"], state["status"]["reconnects"]) == (0, 1)
        assert state["status"]["outputs"][0]["reconnects"] == 0
        assert state["status"]["protected_faces"] > 0
        assert unprotected(daemon) == []


def test_a_media_server_that_is_restarted(tmp_path: Path, publish: Publish) -> None:
    with serving(tmp_path) as daemon:
        with nginx(tmp_path / "nginx") as server, publish(server.rtmp("live/key")):
            daemon.add("one", server.rtmp("live/key"), server.rtmp("protected/key"))
            daemon.flows("one")
        daemon.until("one", "gap")
        with nginx(tmp_path / "again", rtmp_port=server.rtmp_port), publish(server.rtmp("live/key")):
            daemon.until("one", "running")
            daemon.flows("one")
            wait_for(lambda: daemon.state("one")["status"]["outputs"][0]["state"] == "open", "the output", LONG)
        assert daemon.state("one")["restarts"] == 0
        assert unprotected(daemon) == []


def test_a_worker_that_is_killed(tmp_path: Path, server: Nginx, publish: Publish) -> None:
    with serving(tmp_path) as daemon, publish(server.rtmp("live/key")):
        daemon.add("one", server.rtmp("live/key"), server.rtmp("protected/key"))
        daemon.flows("one")
        for count in (1, 2):
            os.kill(worker(daemon), signal.SIGKILL)
            wait_for(lambda count=count: daemon.state("one")["restarts"] == count, "the restart", LONG)
            daemon.until("one", "running")
            daemon.flows("one")
        assert daemon.counts("one")["in_total"] > daemon.state("one")["status"]["frames_in"], "all workers' count"
        answer = daemon.client.delete("/v1/streams/one")
        assert answer.status_code < 300
        wait_for(lambda: not children(daemon.process.pid), "the last worker to end", LONG)
        counts = daemon.counts("one")
        assert counts["in_flight"] == 0
        assert counts["in_total"] == counts["out_total"] + counts["dropped_total"]
        assert unprotected(daemon) == []


def test_noise_instead_of_a_stream_hurts_nobody_else(tmp_path: Path, server: Nginx, publish: Publish) -> None:
    port, chance = free_port(socket.SOCK_DGRAM), random.Random(1)
    with serving(tmp_path) as daemon, publish(server.rtmp("live/key")):
        daemon.add("one", server.rtmp("live/key"), server.rtmp("protected/key"))
        daemon.flows("one")
        daemon.add("noise", f"udp://127.0.0.1:{port}", server.rtmp("protected/noise"), open_timeout=3)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:

            def refused() -> bool:
                sender.sendto(b"\x47" + chance.randbytes(1315), ("127.0.0.1", port))
                return bool(daemon.state("noise")["error"])

            wait_for(refused, "words on the noise", LONG)
        daemon.flows("one")
        assert daemon.state("one")["restarts"] == 0


def test_a_source_above_the_limits_is_refused_for_good(tmp_path: Path, server: Nginx, publish: Publish) -> None:
    with serving(tmp_path) as daemon, publish(server.rtmp("live/key")):
        daemon.add("large", server.rtmp("live/key"), server.rtmp("protected/key"), limits={"width": 128})
        daemon.until("large", "failed")
        state = daemon.state("large")
        assert "160x160; at most 128x" in state["error"]
        assert state["restarts"] == 0
