"""The fixture of tests over a daemon without media."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_guard.daemon.daemon import Daemon

from .fake_daemon import Make, settings
from .support import FAKE, children


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Starts daemons with the given streams and sections; ends them, and sees that nothing is left."""
    made: list[Daemon] = []

    def _make(*streams: dict[str, Any], variables: frozenset[str] = frozenset(), **changes: Any) -> Daemon:
        daemon = Daemon(settings(tmp_path, *streams, **changes).naming(variables), FAKE)
        made.append(daemon)
        daemon.start()
        return daemon

    yield _make
    for daemon in made:
        daemon.close()
    assert not children()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stream-guard")]
