"""Names, help and the server of the metrics."""

from __future__ import annotations

import re
import socket
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from stream_guard.errors import UsageError
from stream_guard.metrics import METRICS, Metrics, serve


def test_names_and_help_follow_the_conventions() -> None:
    text = generate_latest(Metrics().registry).decode()
    for metric in METRICS:
        assert re.fullmatch(r"stream_guard_[a-z_]+", metric.exposed)
        assert metric.help.endswith(".")
        assert f"# HELP {metric.exposed} {metric.help}" in text
        assert f"# TYPE {metric.exposed} " in text
        if "seconds" in metric.name or "bytes" in metric.name:
            assert metric.name.endswith(("_seconds", "_bytes"))


def test_two_runs_do_not_share_counts() -> None:
    one, two = Metrics(), Metrics()
    one["frames_in"].inc(5)
    assert two.registry.get_sample_value("stream_guard_frames_in_total") == 0


def test_the_server_serves_and_ends() -> None:
    registry = CollectorRegistry()
    Metrics(registry)["frames_out"].inc(3)
    server = serve(registry, 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5) as answer:
        assert "stream_guard_frames_out_total 3.0" in answer.read().decode()
    server.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port), timeout=2).close()


def test_a_port_in_use_is_a_usage_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"127\.0\.0\.1:{port}: .*choose another --metrics-port"):
            serve(CollectorRegistry(), port)


def test_an_impossible_port_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="70000"):
        serve(CollectorRegistry(), 70000)
