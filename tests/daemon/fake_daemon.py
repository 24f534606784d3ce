"""A daemon over worker processes without media, and what a test asks of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stream_guard.daemon.control import StreamState
from stream_guard.daemon.daemon import Daemon
from stream_guard.daemon.settings import DaemonSettings

from .support import until

Make = Callable[..., Daemon]
"""Starts daemons with the given streams and sections: the fixture `make`."""


def stream(name: str, word: str = "run", **changes: Any) -> dict[str, Any]:
    """The settings of a stream whose worker behaves as `word` says."""
    return {
        "name": name,
        "source": f"rtmp://127.0.0.1/live/{word}",
        "outputs": [{"url": "rtmp://127.0.0.1/protected/secretkey"}],
        "backoff": {"first": 0.05, "most": 0.1},
        **changes,
    }


def settings(folder: Path, *streams: dict[str, Any], **changes: Any) -> DaemonSettings:
    return DaemonSettings.model_validate(
        {
            "state_dir": str(folder),
            "urls": {"hosts": ["127.0.0.1"]},
            "admission": {"cpu_headroom": 0, "memory_headroom": 0},
            "streams": streams,
            **changes,
        }
    )


def phase(daemon: Daemon, name: str, *phases: str) -> StreamState:
    """The stream's state once it is in one of the phases."""
    until(lambda: daemon.stream(name).phase in phases, f"{name} to be {' or '.join(phases)}")
    return daemon.stream(name)


def samples(daemon: Daemon) -> dict[str, float]:
    """The page of metrics: line without value, value."""
    lines = [line for line in daemon.metrics().decode().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def restarts(daemon: Daemon, reason: str) -> float:
    return samples(daemon).get(f'stream_guard_worker_restarts_total{{reason="{reason}"}}', 0.0)


def worker_pid(daemon: Daemon, name: str) -> int:
    handle = daemon._streams._streams[name].handle
    assert handle is not None
    assert handle.process is not None
    return handle.process.pid
