"""A session that is never without a backend: swaps and fallbacks lose no batch, and memory stays flat."""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_guard.daemon.proc import resident_bytes
from stream_guard.errors import EngineError, FeedError, GpuMemoryError, StoppedError
from stream_guard.inference import Session, backends, open_session
from stream_guard.inference.builder import Progress
from stream_guard.inference.onnxruntime_session import OnnxRuntimeSession
from stream_guard.inference.standby import Choice, StandbySession
from stream_guard.inference.watch import EngineEvent, listening

from ..support.engines import disrupter_model
from ..support.gpu import faked_gpu

MODEL = disrupter_model("follows", 16, 8)
PICTURES = np.random.default_rng(0).random((40, 3, 16, 16), dtype=np.float32)


class Fake:
    """Gives its number for every row; fails as told. `alive` counts those that are open."""

    alive = 0

    def __init__(self, backend: str, number: float = 0.0, fails: Exception | None = None) -> None:
        self.backend, self.number, self.fails = backend, number, fails
        self.inputs: tuple[str, ...] = ("face",)
        self.outputs: tuple[str, ...] = ("delta",)
        Fake.alive += 1
        self.open = True

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert self.open, "run after close"
        if self.fails is not None:
            raise self.fails
        return {"delta": np.full(len(feeds["face"]), self.number, np.float32)}

    def close(self) -> None:
        Fake.alive -= self.open
        self.open = False


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    Fake.alive = 0
    yield
    assert Fake.alive == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "stream-guard-build"]


def choices(*sessions: tuple[str, Callable[[], Session]]) -> list[Choice]:
    return [Choice(name, make) for name, make in sessions]


def feeds(rows: int = 2) -> dict[str, np.ndarray]:
    return {"face": PICTURES[:rows]}


def number(session: Session) -> float:
    return float(session.run(feeds())["delta"][0])


def refuses() -> Session:
    raise EngineError("no such thing here")


def test_with_finite_a_run_that_gives_nan_has_failed() -> None:
    made = (("a", lambda: Fake("a", float("nan"))), ("b", lambda: Fake("b", 2)))
    session = StandbySession(choices(*made), finite=True)
    assert (number(session), session.backend) == (2, "b")
    session.close()


@pytest.fixture
def told() -> Iterator[list[EngineEvent]]:
    events: list[EngineEvent] = []
    with listening(events.append):
        yield events


def test_it_begins_on_the_first_that_opens(told: list[EngineEvent]) -> None:
    session = StandbySession(choices(("a", refuses), ("b", lambda: Fake("b", 2))))
    assert (session.backend, number(session)) == ("b", 2)
    session.close()
    session.close()
    with pytest.raises(EngineError, match="closed"):
        session.run(feeds())
    assert told == []


def test_none_that_opens_is_an_error_that_says_each_reason() -> None:
    with pytest.raises(EngineError, match=r"no backend can load the engine\. a: no such thing here"):
        StandbySession(choices(("a", refuses)))


@pytest.mark.parametrize(
    ("error", "reason"),
    [(EngineError("the GPU fell off the bus"), "run_failed"), (GpuMemoryError("0 MiB free"), "out_of_memory")],
)
def test_a_run_that_fails_is_done_again_on_the_next(told: list[EngineEvent], error: Exception, reason: str) -> None:
    first = Fake("a", 1)
    second = Fake("b", 2, EngineError("it is on the same GPU"))
    session = StandbySession(choices(("a", lambda: first), ("b", lambda: second), ("c", lambda: Fake("c", 3))))
    assert number(session) == 1
    first.fails = error
    assert number(session) == 3, "the same batch, from the next that can"
    assert (session.backend, number(session)) == ("c", 3)
    assert not first.open
    assert [(event.kind, event.backend, event.reason) for event in told] == [("fallback", "c", reason)]
    session.close()


def test_a_library_that_breaks_in_its_own_way_is_passed_over() -> None:
    """A shared library that is missing when its backend is opened, and a GPU that is lost for the next one too."""

    def broken(error: Exception) -> Callable[[], Session]:
        def make() -> Session:
            raise error

        return make

    first = Fake("b", 2)
    missing, lost = OSError("libcudnn.so.9: cannot open shared object file"), RuntimeError("CUDA error: unknown error")
    session = StandbySession(
        choices(("a", broken(missing)), ("b", lambda: first), ("c", broken(lost)), ("d", lambda: Fake("d", 4)))
    )
    assert number(session) == 2
    first.fails = EngineError("the GPU fell off the bus")
    assert number(session) == 4
    session.close()


def test_where_all_fail_the_first_error_is_raised_and_nothing_changes(told: list[EngineEvent]) -> None:
    first = Fake("a", 1, EngineError("this batch is odd"))
    session = StandbySession(
        choices(("a", lambda: first), ("b", lambda: Fake("b", 2, EngineError("odd here too"))), ("c", refuses))
    )
    for _ in range(3):
        with pytest.raises(EngineError, match="this batch is odd"):
            session.run(feeds())
    first.fails = None
    assert (session.backend, number(session)) == ("a", 1)
    assert told == []
    session.close()


def test_feeds_that_do_not_fit_move_nothing(told: list[EngineEvent]) -> None:
    opened = []
    session = StandbySession(
        choices(("a", lambda: OnnxRuntimeSession(MODEL)), ("b", lambda: opened.append(1) or Fake("b")))  # type: ignore[func-returns-value]
    )
    with pytest.raises(FeedError):
        session.run({"face": PICTURES[:, :, :3]})
    assert (opened, told) == ([], [])
    session.close()


def test_it_swaps_between_two_runs_and_loses_none(told: list[EngineEvent]) -> None:
    ready, begun = threading.Event(), threading.Event()

    def prepare(watch: Callable[[Progress], None], stop: threading.Event) -> Session:
        watch(Progress("Tactics", 1, 2, 0.5, 60, 60))
        begun.set()
        ready.wait()
        return Fake("fast", 9)

    slow = Fake("slow", 1)
    session = StandbySession(choices(("slow", lambda: slow)), "fast", prepare)
    begun.wait()
    assert session.building
    assert [number(session) for _ in range(5)] == [1] * 5
    ready.set()
    numbers = []
    while not numbers or numbers[-1] != 9:
        numbers.append(number(session))
    assert set(numbers) <= {1, 9}
    assert (session.backend, slow.open, session.building) == ("fast", False, False)
    kinds = [event.kind for event in told]
    assert kinds == ["building", "building", "built", "swapped"]
    assert (told[1].fraction, told[1].left_seconds, told[1].serving) == (0.5, 60, "slow")
    session.close()


def test_after_a_swap_the_former_backend_is_the_way_back(told: list[EngineEvent]) -> None:
    fast = Fake("fast", 9)
    session = StandbySession(choices(("slow", lambda: Fake("slow", 1))), "fast", lambda watch, stop: fast)
    while session.backend != "fast":
        number(session)
    fast.fails = EngineError("lost")
    assert (number(session), session.backend) == (1, "slow")
    assert told[-1].kind == "fallback"
    session.close()


def test_a_build_that_fails_leaves_everything_as_it_is(told: list[EngineEvent]) -> None:
    def prepare(watch: Any, stop: threading.Event) -> Session:
        raise EngineError("operator NonZero (n1) is not supported")

    session = StandbySession(choices(("slow", lambda: Fake("slow", 1))), "fast", prepare)
    while session.building:
        assert number(session) == 1
    assert (told[-1].kind, told[-1].reason) == ("build_failed", "operator NonZero (n1) is not supported")
    assert session.backend == "slow"
    session.close()


def test_closing_stops_a_build(told: list[EngineEvent]) -> None:
    def prepare(watch: Any, stop: threading.Event) -> Session:
        stop.wait()
        raise StoppedError("stopped")

    session = StandbySession(choices(("slow", lambda: Fake("slow", 1))), "fast", prepare)
    session.close()
    assert [event.kind for event in told] == ["building"]


def test_what_was_ready_but_never_used_is_closed() -> None:
    session = StandbySession(choices(("slow", lambda: Fake("slow"))), "fast", lambda watch, stop: Fake("fast"))
    while session.building:
        pass
    session.close()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """TensorRT's stand-in beside ONNX Runtime on the processor."""
    with faked_gpu(monkeypatch, tmp_path / "plans") as runtime:
        kept = [each for each in backends.BACKENDS if each.name in ("tensorrt", "onnxruntime")]
        monkeypatch.setattr(backends, "BACKENDS", tuple(kept))
        yield runtime


def test_auto_builds_meanwhile_swaps_and_survives_the_gpu(machine: Any, told: list[EngineEvent]) -> None:
    """The whole way with the real builder process: no plan, a build, a swap, a GPU that is lost."""
    expected = open_session(MODEL, "onnxruntime").run(feeds(5))["delta"]
    session = open_session(MODEL)
    assert (type(session).__name__, session.backend) == ("StandbySession", "onnxruntime")
    while session.backend != "tensorrt":
        np.testing.assert_allclose(session.run(feeds(5))["delta"], expected, atol=1e-3)
        assert [event.kind for event in told][-1] != "build_failed", told[-1]
    np.testing.assert_allclose(session.run(feeds(5))["delta"], expected, atol=1e-3)
    machine.lose()
    np.testing.assert_allclose(session.run(feeds(5))["delta"], expected, atol=1e-6)
    assert session.backend == "onnxruntime"
    machine.lose(False)
    session.close()
    assert [event.kind for event in told if event.kind != "building"] == ["built", "swapped", "fallback"]
    again = open_session(MODEL)
    assert again.backend == "tensorrt", "the plan is there now"
    again.close()


def test_auto_without_a_working_library_goes_on(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GPU_COUNT", "0")
    session = open_session(MODEL)
    assert session.backend == "onnxruntime"
    session.close()


def _flat(session: Session, batches: int, allowed_bytes: int) -> None:
    """What Python holds and what the process holds, after many batches of changing face counts, against after a few."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 13, batches)
    for rows in (*range(1, 14), *sizes[:100]):
        session.run(feeds(int(rows)))
    gc.collect()
    tracemalloc.start()
    try:
        session.run(feeds(12))
        before, resident = tracemalloc.get_traced_memory()[0], resident_bytes(os.getpid())
        for rows in sizes:
            session.run(feeds(int(rows)))
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < allowed_bytes
        assert resident_bytes(os.getpid()) - resident < 24 * 1024**2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "onnxruntime-cuda", "torch"])
def test_memory_is_flat_over_ten_thousand_batches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = next(each for each in backends.BACKENDS if each.name == name)
    if name == "onnxruntime-cuda" and real.why_not():
        real = replace(real, lacks=lambda: "", module="tests.support.on_processor", session="OnProcessor")
        monkeypatch.setattr(backends, "BACKENDS", (real,))
    if real.why_not():
        pytest.skip(real.why_not())
    session = open_session(MODEL, name)
    _flat(session, 10_000, 64 * 1024)
    session.close()


def test_tensorrt_allocates_nothing_over_ten_thousand_batches(machine: Any) -> None:
    session = open_session(MODEL, "tensorrt")
    allocations = machine.live.allocations
    _flat(session, 10_000, 64 * 1024)
    assert machine.live.allocations == allocations
    session.close()
