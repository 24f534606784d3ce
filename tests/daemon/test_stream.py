"""One stream of the daemon by itself: what becomes of it when its worker ends, over and over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stream_guard.daemon.aggregate import Aggregate
from stream_guard.daemon.jobs import WorkerExit
from stream_guard.daemon.process import Order
from stream_guard.daemon.protocol import Message
from stream_guard.daemon.ring import Ring
from stream_guard.daemon.settings import BackoffSettings, StreamSettings
from stream_guard.daemon.stream import Around, Stream
from stream_guard.daemon.supervisor import Handle
from stream_guard.live.spec import LivePhase
from stream_guard.metrics import DAEMON_METRICS, Metrics


def test_the_wait_for_the_thousandth_restart_is_the_longest_there_is() -> None:
    ends: list[Callable[[WorkerExit], None]] = []

    def spawn(order: Order, on_message: Any, on_exit: Callable[[WorkerExit], None]) -> Any:
        ends.append(on_exit)
        return SimpleNamespace(last_words=(), process=None)

    aggregate = cast(Aggregate, SimpleNamespace(ended=lambda *_: None))
    chosen = StreamSettings(name="one", source="rtmp://127.0.0.1/live/run", restarts=2000, restart_window=1e9)
    one = Stream(chosen, "api", Around(spawn, aggregate, Ring(), Metrics(of=DAEMON_METRICS), clock=lambda: 0.0))
    for _ in range(1100):
        one.launch(lambda callback: callback)
        ends[-1](WorkerExit(1))
    assert (one.phase, one.restarts) == (LivePhase.STARTING, 1100)
    one.around = replace(one.around, clock=lambda: chosen.backoff.most)
    assert one.due()


@pytest.mark.parametrize(("kept", "orders"), [("a.m3u8", ["followed", "stop"]), ("b.m3u8", ["stop"])])
def test_a_worker_is_told_that_another_carries_its_outputs_on(kept: str, orders: list[str]) -> None:
    told: list[str] = []
    handle = SimpleNamespace(send=lambda message: told.append(message["type"]), stop=lambda within: told.append("stop"))
    around = Around(lambda *_: cast(Handle, handle), cast(Aggregate, None), Ring(), Metrics(of=DAEMON_METRICS))
    before, after = (
        StreamSettings.model_validate({"name": "one", "source": "rtmp://h/live/x", "outputs": [{"url": url}]})
        for url in ("a.m3u8", kept)
    )
    one = Stream(before, "api", around)
    one.launch(lambda callback: callback)
    one.make_way(after, 1.0)
    assert (told, one.stopping) == (orders, True)


@pytest.mark.parametrize(
    ("kind", "data", "level"),
    [
        ("error", {}, "WARNING"),
        ("limit", {}, "WARNING"),
        ("limit", {"over": True}, "INFO"),
        ("warning", {}, "WARNING"),
        ("output", {"state": "waiting"}, "WARNING"),
        ("record", {"state": "failed"}, "WARNING"),
        ("record", {"state": "open"}, "INFO"),
        ("reconnect", {"seconds": 2.5}, "INFO"),
        ("verdict", None, "INFO"),
    ],
)
def test_trouble_is_a_warning_in_the_log_and_its_end_is_not(
    kind: str, data: dict[str, Any] | None, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[Callable[[Message], None]] = []

    def spawn(order: Order, on_message: Callable[[Message], None], on_exit: Callable[[WorkerExit], None]) -> Any:
        said.append(on_message)
        return SimpleNamespace(last_words=(), process=None)

    aggregate, metrics = cast(Aggregate, SimpleNamespace()), Metrics(of=DAEMON_METRICS)
    chosen = StreamSettings(name="one", source="rtmp://127.0.0.1/live/run")
    one = Stream(chosen, "api", Around(spawn, aggregate, Ring(), metrics))
    one.launch(lambda callback: callback)
    with caplog.at_level("INFO"):
        said[-1]({"type": "event", "kind": kind, "message": "the words", "data": data})
    (line,) = [line for line in caplog.records if "the words" in line.getMessage()]
    assert line.levelname == level


def test_a_worker_whose_pictures_stand_still_is_killed_and_started_anew() -> None:
    """It answers on a thread of its own while an engine's call never returns."""
    said: list[Callable[[Message], None]] = []
    ends: list[Callable[[WorkerExit], None]] = []
    killed: list[str] = []

    def spawn(order: Order, on_message: Callable[[Message], None], on_exit: Callable[[WorkerExit], None]) -> Any:
        said.append(on_message)
        ends.append(on_exit)
        return SimpleNamespace(last_words=(), process=None, kill=killed.append)

    aggregate = cast(Aggregate, SimpleNamespace(ended=lambda *_: None))
    metrics = Metrics(of=DAEMON_METRICS)
    chosen = StreamSettings(name="one", source="rtmp://127.0.0.1/live/run", stall=10.0)
    one = Stream(chosen, "api", Around(spawn, aggregate, Ring(), metrics))
    one.launch(lambda callback: callback)

    def tell(times: int, **status: Any) -> None:
        for _ in range(times):
            said[-1]({"type": "status", "status": {"phase": "running", **status}})

    tell(100, frames_out=5, in_flight=0, dropped={})  # nobody sends anything
    for out in range(100):
        tell(1, frames_out=out, in_flight=3, dropped={})
    for disordered in range(100):
        tell(1, frames_out=99, in_flight=3, dropped={"disordered": disordered})
    for late in range(40):  # dropped in front of the stages
        tell(1, frames_out=99, in_flight=3, dropped={"disordered": 99, "late": late})
    assert killed == []
    tell(1, frames_out=99, in_flight=3, dropped={"disordered": 99, "late": 40})
    assert killed == ["stuck"]
    ends[-1](WorkerExit(-9, "stuck"))
    assert (one.phase, one.restarts) == (LivePhase.STARTING, 1)
    assert "none left for 41 s" in one.error
    assert metrics.registry.get_sample_value("stream_guard_worker_restarts_total", {"reason": "stuck"}) == 1
    one.launch(lambda callback: callback)
    tell(40, frames_out=99, in_flight=3, dropped={"late": 99})
    assert killed == ["stuck"]


def test_restarts_of_long_ago_count_no_more_and_waits_begin_anew() -> None:
    ends: list[Callable[[WorkerExit], None]] = []
    now = [0.0]

    def spawn(order: Order, on_message: Any, on_exit: Callable[[WorkerExit], None]) -> Any:
        ends.append(on_exit)
        return SimpleNamespace(last_words=(), process=None)

    aggregate = cast(Aggregate, SimpleNamespace(ended=lambda *_: None))
    backoff = BackoffSettings(first=1, most=8, jitter=0)
    chosen = StreamSettings(
        name="one", source="rtmp://127.0.0.1/live/run", restarts=2, restart_window=100, backoff=backoff
    )
    one = Stream(chosen, "api", Around(spawn, aggregate, Ring(), Metrics(of=DAEMON_METRICS), clock=lambda: now[0]))
    for died, wait in ((0.0, 1.0), (10.0, 2.0), (101.0, 2.0)):
        now[0] = died
        one.launch(lambda callback: callback)
        ends[-1](WorkerExit(1))
        now[0] = died + wait - 0.01
        assert not one.due()
        now[0] = died + wait
        assert one.due()
    one.launch(lambda callback: callback)
    now[0] = 104.0
    ends[-1](WorkerExit(1))
    assert (one.phase, one.restarts) == (LivePhase.FAILED, 3)
    assert one.error.endswith("given up (2 restarts within 100 s)")
