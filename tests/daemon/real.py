"""`stream-guard serve` with real workers, nginx and publishers between, and the account of every picture."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.servers import free_port, running, wait_for

LONG = 240.0
"""Seconds: engines are loaded and streams opened on a machine that may do other things."""
COUNTED = re.compile(
    r'^stream_guard_frames_(in_total|out_total|dropped_total|in_flight)\{(?:.*,)?stream="([^"]*)"(?:,.*)?\} (\S+)$',
    re.MULTILINE,
)
Counts = dict[str, float]


class Real:
    """A running daemon. Every look at its numbers checks that each picture is somewhere."""

    def __init__(self, client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
        self.client, self.process = client, process

    def state(self, name: str) -> dict[str, Any]:
        """The stream as the API shows it; frames in are frames out, dropped and in flight."""
        state = dict(self.client.get(f"/v1/streams/{name}").json())
        if status := state["status"]:
            assert status["frames_in"] == status["frames_out"] + sum(status["dropped"].values()) + status["in_flight"]
        return state

    def counts(self, name: str) -> Counts:
        """The stream's pictures in /metrics, over all its workers; for every stream they add up."""
        found: dict[str, Counts] = defaultdict(lambda: defaultdict(float))
        for what, stream, value in COUNTED.findall(self.client.get("/metrics").text):
            found[stream][what] += float(value)
        for stream, counts in found.items():
            left = counts["out_total"] + counts["dropped_total"] + counts["in_flight"]
            assert counts["in_total"] == left, (stream, dict(counts))
        return found[name]

    def add(self, name: str, source: str, *outputs: str, **settings: Any) -> None:
        body = {"name": name, "source": source, "outputs": [{"url": url} for url in outputs], **settings}
        answer = self.client.post("/v1/streams", json=body)
        assert answer.status_code in (200, 201), answer.text

    def until(self, name: str, phase: str) -> None:
        wait_for(lambda: self.state(name)["phase"] == phase, f"{name} to be {phase}", LONG)

    def flows(self, name: str, more: int = 10) -> None:
        """Wait for this many more pictures to leave."""
        before = self.counts(name)["out_total"]
        wait_for(lambda: self.counts(name)["out_total"] >= before + more, f"pictures of {name}", LONG)


@contextlib.contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[Real]:
    """The daemon, ready; ends by SIGTERM in good order, without a traceback in its log."""
    port, file, said = free_port(), folder / "guard.yaml", folder / "daemon.log"
    made = {
        "state_dir": str(folder / "state"),
        "http": {"port": port},
        "urls": {"hosts": ["127.0.0.1"], "file_roots": [str(folder)]},
        "admission": {"cpu_headroom": 0, "memory_headroom": 0},
        "drain_seconds": 60,
        "defaults": {"stall": 15, "backoff": {"first": 0.1, "most": 1}, "encoder": {"preset": "ultrafast"}},
        **settings,
    }
    file.write_text(yaml.safe_dump(made))
    command = [sys.executable, "-m", "stream_guard", "serve", "--config", str(file)]
    with said.open("w") as log, running(command, stdout=log, stderr=subprocess.STDOUT) as child:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            wait_for(lambda: child.poll() is not None or ready(client), "the daemon to be ready", LONG)
            assert child.poll() is None, said.read_text()
            yield Real(client, child)
        child.send_signal(signal.SIGTERM)
        assert child.wait(120) == 0
        assert "Traceback" not in said.read_text()


def ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False
