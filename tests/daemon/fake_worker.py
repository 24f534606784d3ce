"""A worker process without media: what it does is the last word of its source's path."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from stream_guard.daemon.channel import Channel
from stream_guard.daemon.protocol import pack
from stream_guard.daemon.worker import main
from stream_guard.metrics import Metrics, families


def _live(spec: dict[str, Any], channel: Channel) -> int:
    word = spec["source"].rsplit("/", 1)[-1]
    metrics = Metrics()
    _report(channel, metrics, "loading")
    metrics["frames_in"].inc(5)
    metrics["queue_frames"].labels("decoded").set(3)
    metrics["frame_latency_seconds"].observe(0.02)
    channel.on_order = lambda order: _picture(order, channel)
    _report(channel, metrics, "running")
    channel.send({"type": "event", "kind": "phase", "message": f"running from {spec['source']}", "data": {"n": 1}})
    return _behave(word, channel, metrics)


def _picture(order: dict[str, Any], channel: Channel) -> None:
    if order["type"] == "snapshot":
        channel.send({"type": "snapshot", "id": order["id"], "jpeg": "SlBFRw=="})


def _behave(word: str, channel: Channel, metrics: Metrics) -> int:
    if word == "bomb":
        _allocate(300)
    elif word == "exit":
        return 1
    elif word == "spin":
        while True:
            sum(range(10000))
    elif word == "segv":
        ctypes.string_at(0)
    elif word == "end":
        _report(channel, metrics, "ended")
        return 0
    elif word == "fail":
        _report(channel, metrics, "failed", "no luck")
        channel.send({"type": "error", "message": "no luck", "final": True})
        return 1
    elif word == "usage":
        channel.send({"type": "error", "message": "rtmp://127.0.0.1/live/usage cannot be opened", "final": True})
        return 2
    elif word == "deaf":
        time.sleep(600)
    elif word == "child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        channel.send({"type": "event", "kind": "child", "message": "born", "data": {"pid": child.pid}})
    elif word == "bare":
        channel.send({"type": "event", "kind": "unprotected", "message": "pictures left unprotected", "data": {}})
    elif word == "noise":
        print("this is not a message", flush=True)
        os.write(1, b"nor is this\n")
    elif word == "nonsense":
        os.write(channel._reports, b"this is not a message\n")
    elif word == "frozen":
        os.kill(os.getpid(), signal.SIGSTOP)
    channel.stop.wait()
    _report(channel, metrics, "ended")
    return 4


def _allocate(mebibytes: int) -> None:
    """Take memory and use it, slowly enough to be watched."""
    held = []
    for _ in range(mebibytes // 10):
        held.append(bytearray(os.urandom(1024) * 10240))
        time.sleep(0.01)
    time.sleep(600)


def _report(channel: Channel, metrics: Metrics, phase: str, error: str = "") -> None:
    channel.send({"type": "status", "status": {"phase": phase, "error": error, "frames_in": 5}})
    channel.send({"type": "metrics", "families": pack(families(metrics.registry))})


def _probe(spec: dict[str, Any], channel: Channel) -> int:
    for serving, words in json.loads(os.environ.get("FAKE_BUILDS", "[]")):
        channel.send({"type": "building", "serving": serving, "message": words})
    if os.environ.get("FAKE_BUILDS"):
        channel.stop.wait(600)
    broken = os.environ.get("FAKE_PROBE", "")
    if broken:
        channel.send({"type": "error", "message": broken})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main({"live": _live, "probe": _probe}))
