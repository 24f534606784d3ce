"""A live stream on fake connections and sinks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stream_guard.backoff import Backoff
from stream_guard.live.spec import LiveSpec
from stream_guard.media import LiveOutput

from ..support.fakes import FindOne, ProtectAll, pipeline, spec
from ..support.live_fakes import FakeNet, Sinks
from .running import Running

PROTECT = (spec(FindOne), spec(ProtectAll))


class Faked(Running):
    """A stream between fakes."""

    def __init__(self, connections: list[Any], *stages: Any, sink: dict[str, Any] | None = None, **settings: Any):
        self.sinks, self.net = Sinks(settings=sink or {}), FakeNet(connections)
        # On a busy machine no picture is late, unless a test wants it.
        chosen: dict[str, Any] = {"backoff": Backoff(0.01, 0.05, 0.0), "max_delay_seconds": 30.0, **settings}
        config, outputs = pipeline(*stages or PROTECT), (LiveOutput("rtmp://there/live/key"),)
        self.spec = LiveSpec("test", "rtmp://here/live/key", outputs, config, **chosen)
        super().__init__(self.spec, open_source=self.net, make_sink=self.sinks)


@contextmanager
def running(connections: list[Any], *stages: Any, **settings: Any) -> Iterator[Faked]:
    run = Faked(connections, *stages, **settings)
    run.thread.start()
    try:
        yield run
    finally:
        run.stop.set()
        run.thread.join(30)


def rising(times: list[Any]) -> bool:
    return all(a < b for a, b in itertools.pairwise(times))
