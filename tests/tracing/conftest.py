"""Traces leave no thread behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ..support.fakes import FindOne, ProtectAll, spec

STAGES = (spec(FindOne), spec(ProtectAll))
SECRET = "secretkey"


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert [t.name for t in threading.enumerate() if t not in before] == []
