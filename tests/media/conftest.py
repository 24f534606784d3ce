"""What the tests of live sinks share: a clip to feed to them, and outputs that are never too slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_guard.media.live import output as live_output
from tests.support import media


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests write faster than life and the machine may be busy: only those on slowness want drops."""
    monkeypatch.setattr(live_output, "QUEUE_SECONDS", 60.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.plain(tmp_path_factory.mktemp("clip"), frames=50, suffix=".mkv")
