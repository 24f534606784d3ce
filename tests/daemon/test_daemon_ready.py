"""Whether the daemon says that streams can be protected."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from stream_guard.daemon.engine import AGAIN_SECONDS, Engine
from stream_guard.daemon.jobs import WorkerExit
from stream_guard.daemon.process import Order
from stream_guard.daemon.protocol import Message
from stream_guard.daemon.ring import Ring
from stream_guard.daemon.settings import DaemonSettings, StreamSettings

from .fake_daemon import Make, phase, samples, stream
from .support import until

HOOK = {"dialect": "nginx-rtmp", "source": "rtmp://127.0.0.1/live/{name}"}


def test_ready_once_the_engine_was_loaded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = make()
    until(lambda: daemon.health().ready, "the engine")
    assert daemon.health().engine == "ready"
    assert samples(daemon)['stream_guard_daemon_engine_state{state="ready"}'] == 1


def test_an_engine_that_cannot_be_loaded_is_told_until_a_stream_proves_it(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FAKE_PROBE", "the engine's file is damaged")
    daemon = make()
    until(lambda: daemon.health().engine == "failed", "the failure")
    assert daemon.health().reasons == ["the engine's file is damaged"]
    assert not daemon.health().ready
    daemon.start_stream(StreamSettings.model_validate(stream("one")))
    until(lambda: daemon.health().ready, "the stream that runs with it")


def test_streams_prove_no_engine_but_their_own() -> None:
    """Of two streams one runs on: the other's engine is damaged for all that, and is said to be, also between tries."""
    said: list[Callable[[Message], None]] = []
    ends: list[Callable[[WorkerExit], None]] = []

    def spawn(order: Order, on_message: Callable[[Message], None], on_exit: Callable[[WorkerExit], None]) -> Any:
        said.append(on_message)
        ends.append(on_exit)
        return SimpleNamespace()

    now, ring = [0.0], Ring()
    engine = Engine(spawn, ring, lambda: now[0])
    good, bad = ({"pipeline": "live", "options": options} for options in ({}, {"disrupt.engine": "mine"}))
    engine.probe(DaemonSettings.model_validate({"hooks": {"h": {**HOOK, "stream": bad}}}))
    for attempt in range(2):
        said[attempt]({"type": "probed", "chosen": good})
        engine.proven([good])
        said[attempt]({"type": "error", "message": "mine is damaged"})
        ends[attempt](WorkerExit(1))
        engine.proven([good])
        assert (engine.state, engine.ready) == (("failed", "mine is damaged"), False)
        now[0] += AGAIN_SECONDS
        engine.tick()
        assert engine.state == ("failed", "mine is damaged"), "while it is tried again"
    engine.proven([good])
    assert not engine.ready
    engine.proven([good, bad])
    assert (engine.state, engine.ready) == (("ready", ""), True)


def test_ready_while_a_faster_engine_is_built_beside_one_that_works(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "the engine of disrupt is being built for this GPU, 40% done; streams run on openvino meanwhile"
    monkeypatch.setenv("FAKE_BUILDS", json.dumps([[False, "it begins"], [True, words]]))
    daemon = make()
    until(lambda: daemon.health().reasons == [words], "the build")
    assert (daemon.health().ready, daemon.health().engine) == (True, "building")
    assert samples(daemon)['stream_guard_daemon_engine_state{state="building"}'] == 1
    daemon.start_stream(StreamSettings.model_validate(stream("one")))
    phase(daemon, "one", "running")
    until(lambda: daemon.health().ready, "readiness")
    assert daemon.health().engine == "building", "a stream that runs does not hide the build"


def test_not_ready_while_the_only_engine_is_built(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_BUILDS", json.dumps([[False, "the engine of disrupt is being built"]]))
    daemon = make()
    until(lambda: daemon.health().engine == "building", "the build")
    assert not daemon.health().ready
    assert daemon.health().reasons == ["the engine of disrupt is being built"]


def test_a_build_for_pipelines_that_are_not_asked_for_any_more_says_nothing() -> None:
    """A reload in the midst of a build: the probe of before goes on, the one of now has the say."""
    said: list[Callable[[Message], None]] = []
    ends: list[Callable[[WorkerExit], None]] = []

    def spawn(order: Order, on_message: Callable[[Message], None], on_exit: Callable[[WorkerExit], None]) -> Any:
        said.append(on_message)
        ends.append(on_exit)
        return SimpleNamespace()

    engine = Engine(spawn, Ring())
    engine.probe(DaemonSettings())
    said[0]({"type": "building", "serving": False, "message": "10% done"})
    engine.probe(DaemonSettings.model_validate({"defaults": {"options": {"disrupt.strength": 1.2}}}))
    ends[1](WorkerExit(0))
    assert (engine.state, engine.ready) == (("ready", ""), True)
    said[0]({"type": "building", "serving": False, "message": "20% done"})
    ends[0](WorkerExit(0))
    assert (engine.state, engine.ready) == (("ready", ""), True)
