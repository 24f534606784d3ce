"""Whether the daemon says that streams can be protected."""

from __future__ import annotations

import json

import pytest

from stream_guard.daemon.settings import StreamSettings

from .fake_daemon import Make, phase, samples, stream
from .support import until


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
