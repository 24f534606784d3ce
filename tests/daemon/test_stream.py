"""One stream of the daemon by itself: what becomes of it when its worker ends, over and over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from stream_guard.daemon.aggregate import Aggregate
from stream_guard.daemon.jobs import WorkerExit
from stream_guard.daemon.process import Order
from stream_guard.daemon.ring import Ring
from stream_guard.daemon.settings import StreamSettings
from stream_guard.daemon.stream import Around, Stream
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
