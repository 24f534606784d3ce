"""What a probe says of an engine that is being built, and that it stays until the build has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_guard import chain
from stream_guard.daemon import probe_worker
from stream_guard.errors import StreamGuardError
from stream_guard.inference import backends
from stream_guard.inference.watch import EngineEvent, listener

from ..support.gpu import faked_gpu


class Channel:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.stop = threading.Event()

    def send(self, message: dict[str, Any], *, wait: bool = True) -> None:
        self.sent.append(message)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[EngineEvent], None]]:
    """The listeners of the stages that were opened; `disrupt` begins to build as soon as it is open."""
    listeners: list[Callable[[EngineEvent], None]] = []
    stage_open = chain.Step.open

    def open_and_build(step: chain.Step) -> None:
        stage_open(step)
        if step.name == "disrupt":
            listeners.append(step._told)
            step._told(EngineEvent("building", "tensorrt", "openvino", "Tactics", 0.4, 130.0))

    monkeypatch.setattr(chain.Step, "open", open_and_build)
    return listeners


def run(channel: Channel) -> tuple[threading.Thread, list[int]]:
    codes: list[int] = []
    spec = {"pipelines": [{"pipeline": "protect", "options": {}}]}
    thread = threading.Thread(target=lambda: codes.append(probe_worker.run_probe(spec, channel)))  # type: ignore[arg-type]
    thread.start()
    return thread, codes


def wait_for(channel: Channel, kind: str, count: int = 1) -> list[dict[str, Any]]:
    for _ in range(6000):
        found = [message for message in channel.sent if message["type"] == kind]
        if len(found) >= count:
            return found
        threading.Event().wait(0.01)
    raise AssertionError(f"no {kind} in {channel.sent}")


def test_it_stays_until_the_build_has_ended(opened: list[Callable[[EngineEvent], None]]) -> None:
    channel = Channel()
    thread, codes = run(channel)
    first, second = wait_for(channel, "building", 2)[:2]
    assert (first["serving"], second["serving"]) == (False, True)
    assert second["message"] == (
        "the engine of disrupt is being built for this GPU by tensorrt, 40% done, about 2 min left; "
        "streams run on openvino meanwhile"
    )
    opened[0](EngineEvent("building", "tensorrt", "openvino", "Tactics", 0.41, 120.0))
    opened[0](EngineEvent("building", "tensorrt", "openvino", "Tactics", 0.8, 30.0))
    assert "80% done" in wait_for(channel, "building", 3)[2]["message"], "41 % is not worth a message"
    assert thread.is_alive()
    opened[0](EngineEvent("built", "tensorrt", "openvino"))
    thread.join()
    assert codes == [0]


def test_a_build_that_fails_is_told_and_is_no_failure(opened: list[Callable[[EngineEvent], None]]) -> None:
    channel = Channel()
    thread, codes = run(channel)
    wait_for(channel, "building", 2)
    opened[0](EngineEvent("build_failed", "tensorrt", "openvino", reason="operator NonZero (n) is not supported"))
    thread.join()
    assert codes == [0]
    assert wait_for(channel, "build_failed")[0]["message"] == "disrupt: operator NonZero (n) is not supported"


def test_it_stops_when_asked(opened: list[Callable[[EngineEvent], None]]) -> None:
    channel = Channel()
    thread, codes = run(channel)
    wait_for(channel, "building", 2)
    channel.stop.set()
    thread.join()
    assert codes == [4]


def test_nobody_listens_outside() -> None:
    listener()(EngineEvent("building", "tensorrt"))  # where no stage is being opened, nothing happens


def test_with_a_gpu_it_opens_everything_and_builds_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way, on the stand-ins: the default pipeline on a machine with TensorRT and no plan yet."""
    monkeypatch.setenv("FAKE_BUILD_SECONDS", "1")
    with faked_gpu(monkeypatch, tmp_path / "plans"):
        kept = tuple(each for each in backends.BACKENDS if each.name in ("tensorrt", "onnxruntime"))
        monkeypatch.setattr(backends, "BACKENDS", kept)
        channel = Channel()
        thread, codes = run(channel)
        thread.join()
        assert codes == [0]
        told = wait_for(channel, "building")
        assert all("the engine of disrupt is being built" in message["message"] for message in told)
        assert any(message["serving"] and "streams run on onnxruntime" in message["message"] for message in told)
        assert len(list((tmp_path / "plans").glob("*.plan"))) == 1
        again = Channel()
        thread, codes = run(again)
        thread.join()
        assert [message["type"] for message in again.sent] == ["probed"], "the plan is there"


def test_a_pipeline_that_cannot_be_opened_does_not_hide_the_others() -> None:
    channel, broken = Channel(), {"pipeline": "protect", "options": {"disrupt.engine": "/nowhere/engine"}}
    good = {"pipeline": "protect", "options": {}}
    with pytest.raises(StreamGuardError, match="nowhere"):
        probe_worker.run_probe({"pipelines": [broken, good]}, channel)  # type: ignore[arg-type]
    assert channel.sent == [{"type": "probed", "chosen": good}]
