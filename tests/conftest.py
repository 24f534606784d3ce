"""What every test shares: the --slow flag and the team's clips where they are at hand."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# The machine may be busy: no test fails by its time. CI tries the same examples each time; people search for new ones.
hypothesis.settings.register_profile("patient", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("patient")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow; run it with --slow")
    for item in items:
        if item.get_closest_marker("slow"):  # not `keywords`: those hold the names of the folders above too
            item.add_marker(skip)


@pytest.fixture(autouse=True, scope="module")
def no_rubbish() -> Iterator[None]:
    """What a file's tests left unclosed fails there, and not in whichever test is running when it is collected."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def same_log() -> Iterator[None]:
    """What a command sets up of the package's log ends with the test."""
    log = logging.getLogger("stream_guard")
    level, handlers = log.level, log.handlers[:]
    yield
    log.setLevel(level)
    log.handlers = handlers


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert [t.name for t in threading.enumerate() if t not in before] == []


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips beside the checkout; skips the test where there is none."""
    if not (SHARED / "media").is_dir():
        pytest.skip("needs ../shared/media beside the checkout")
    return SHARED
