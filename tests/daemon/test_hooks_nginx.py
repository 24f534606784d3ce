"""A real nginx with the example's configuration, a real daemon: what is published to live/key is at protected/key."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import httpx
import pytest
import yaml

from stream_guard.talking_head import portrait
from tests.support.servers import Nginx, free_port, nginx, publisher, running, wait_for

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "servers" / "nginx.conf"
TOKEN, SECRET = "publishers-token", "CHANGE-ME"
LONG = 180.0
"""Seconds: engines are loaded and streams opened on a machine that may do other things."""


def applications(port: int) -> str:
    """The inside of the example's `server` block, with the daemon at this port."""
    block = EXAMPLE.read_text().partition("chunk_size 4096;")[2]
    inside = re.sub(r"\}\s*\}\s*\Z", "", block.rstrip())
    return inside.replace("127.0.0.1:8642", f"127.0.0.1:{port}")


def configuration(folder: Path, rtmp: int, port: int) -> Path:
    hook = {
        "dialect": "nginx-rtmp",
        "secret": SECRET,
        "publish_token": TOKEN,
        "source": f"rtmp://127.0.0.1:{rtmp}/{{app}}/{{name}}",
        "outputs": [{"url": f"rtmp://127.0.0.1:{rtmp}/protected/{{name}}"}],
        # Nothing is dropped or given up on a machine that is busy with other things.
        "stream": {"max_delay": 60, "stall": 60, "read_timeout": 60, "open_timeout": 60},
    }
    settings = {
        "state_dir": str(folder / "state"),
        "http": {"port": port},
        "urls": {"hosts": [f"127.0.0.1:{rtmp}"]},
        "admission": {"cpu_headroom": 0, "memory_headroom": 0},
        "hooks": {"nginx": hook},
        "drain_seconds": 60,
    }
    file = folder / "stream-guard.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


@contextlib.contextmanager
def daemon(file: Path, port: int) -> Iterator[httpx.Client]:
    """`stream-guard serve`, ready; ends by SIGTERM, in good order."""
    log = file.with_suffix(".log").open("w+")
    command = [sys.executable, "-m", "stream_guard", "serve", "--config", str(file)]
    with log, running(command, stdout=log, stderr=subprocess.STDOUT) as child:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            wait_for(lambda: child.poll() is not None or ready(client), "the daemon to be ready", LONG)
            assert child.poll() is None, file.with_suffix(".log").read_text()
            yield client
        child.send_signal(signal.SIGTERM)
        assert child.wait(120) == 0
        said = file.with_suffix(".log").read_text()
        assert TOKEN not in said
        assert "Traceback" not in said


def ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def names(client: httpx.Client, phase: str = "") -> list[str]:
    states = client.get("/v1/streams").json()
    return [state["name"] for state in states if phase in ("", state["phase"])]


def is_published(server: Nginx, application: str) -> bool:
    part = re.search(rf"<name>{application}</name>.*?</application>", server.streams(), re.DOTALL)
    return part is not None and "<publishing/>" in part[0]


def count(client: httpx.Client, metric: str) -> float:
    lines = re.findall(rf"^{metric}(?:\{{[^}}]*\}})? ([0-9.e+]+)$", client.get("/metrics").text, re.MULTILINE)
    return sum(float(value) for value in lines)


@pytest.fixture
def picture(tmp_path: Path) -> list[str]:
    """A face as ffmpeg's input, 10 pictures a second."""
    portrait().resize((320, 240)).save(tmp_path / "face.png")
    return ["-re", "-framerate", "10", "-loop", "1", "-i", str(tmp_path / "face.png")]


def test_live_key_comes_out_protected_at_protected_key(tmp_path: Path, picture: list[str]) -> None:
    port, rtmp = free_port(), free_port()
    with (
        nginx(tmp_path / "nginx", applications=applications(port), rtmp_port=rtmp) as server,
        daemon(configuration(tmp_path, rtmp, port), port) as client,
    ):
        with publisher(server.rtmp("live/key?token=wrong"), inputs=picture, audio=False) as refused:
            assert refused.wait(60) != 0
        assert names(client) == []
        with publisher(server.rtmp(f"live/key?token={TOKEN}"), inputs=picture, audio=False):
            wait_for(lambda: is_published(server, "protected"), "protected/key to be published", LONG)
            with av.open(server.rtmp("protected/key"), timeout=LONG) as viewer:
                shown = [frame for _, frame in zip(range(10), viewer.decode(video=0), strict=False)]
            assert [(frame.width, frame.height) for frame in shown] == [(320, 240)] * 10
            assert names(client) == names(client, "running") == ["key"]
            wait_for(lambda: count(client, "stream_guard_faces_total") > 0, "faces to be counted")
            assert count(client, "stream_guard_unprotected_frames_total") == 0
        wait_for(lambda: names(client) in ([], ["key"]) and not names(client, "running"), "the stream to end", LONG)
        wait_for(lambda: not is_published(server, "protected"), "protected/key to end", LONG)
        assert count(client, "stream_guard_streams_given_up_total") == 0
        # The name is free for the next one.
        with publisher(server.rtmp(f"live/key?token={TOKEN}"), inputs=picture, audio=False):
            wait_for(lambda: is_published(server, "protected"), "protected/key to be published anew", LONG)
