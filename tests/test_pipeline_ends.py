"""The runner: every way to end, a stage that is found out, and nothing left behind."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from stream_guard.crew import Crew
from stream_guard.errors import EngineError, SourceError, StageError, StoppedError
from stream_guard.pipeline import run
from stream_guard.types import Frame

from .support.fakes import (
    PROTECT,
    FakePacket,
    FakeSink,
    FakeSource,
    FindOne,
    ProtectAll,
    Troubled,
    frame,
    frames,
    pipeline,
    spec,
)

pytestmark = pytest.mark.usefixtures("no_thread_left")


def test_the_first_error_names_the_stage_and_the_time() -> None:
    sink = FakeSink()
    with pytest.raises(StageError, match=r"stage 'troubled' failed at 0\.120 s: the picture is odd") as caught:
        run(pipeline(*PROTECT, spec(Troubled, at=3)), FakeSource(frames(40)), lambda: sink)
    assert caught.value.stage == "troubled"
    assert sink.aborted
    assert not sink.closed


def test_an_error_of_the_source_names_decode() -> None:
    sink = FakeSink()
    with pytest.raises(StageError, match=r"stage 'decode' failed at 0\.280 s: the disk went away"):
        run(pipeline(*PROTECT), FakeSource(frames(40), fail_at=8), lambda: sink)
    assert sink.aborted


@pytest.mark.parametrize("sink", [FakeSink(fail_at=5), FakeSink(fail_close=True)], ids=["write", "close"])
def test_an_error_of_the_sink_names_encode(sink: FakeSink) -> None:
    with pytest.raises(StageError, match=r"stage 'encode' failed at .*no space left"):
        run(pipeline(*PROTECT), FakeSource(frames(40)), lambda: sink)
    assert sink.aborted


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("lose", r"frame #4 came out of turn at 0\.160 s"),
        ("retime", r"the time of frame #3 was changed; it came at 0\.120 s"),
        ("twice", r"frame #3 came out of turn"),
        ("resize", r"the picture of frame #3 went in as 64x48 and came out as 32x48, at 0\.120 s"),
    ],
)
def test_a_stage_that_breaks_the_order_is_found_out(how: str, words: str) -> None:
    with pytest.raises(StageError, match=words):
        run(pipeline(*PROTECT, spec(Troubled, how=how)), FakeSource(frames()), FakeSink)


def test_a_stage_that_keeps_the_last_frame_is_found_out() -> None:
    with pytest.raises(StageError, match=r"1 frame\(s\) were kept back, the first at 0\.440 s"):
        run(pipeline(*PROTECT, spec(Troubled, how="lose", at=11)), FakeSource(frames()), FakeSink)


def _raised(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda shown: None, "it returned nothing, not a list of the frames that are ready"),
        (lambda shown: shown, "it returned a value of the type Frame, not a list"),
        (lambda shown: [shown.picture], "it returned a value of the type VideoFrame where a frame is expected"),
        (lambda shown: [None], "it returned nothing where a frame is expected"),
        (lambda shown: [replace(shown, picture=None)], "it returned a frame without a picture"),
        (lambda shown: [replace(shown, faces=("a",))], "a value of the type str where a Face is expected"),
        (lambda shown: [replace(shown, verdicts=("bad",))], "a value of the type str where a Verdict is expected"),
        (lambda shown: [][1], "IndexError: list index out of range"),
        (lambda shown: {}["weights"], "KeyError: 'weights'"),
        (lambda shown: sys.exit(0), "SystemExit: 0"),
        (lambda shown: _raised(GeneratorExit()), "GeneratorExit"),
    ],
)
def test_what_a_stage_gives_out_is_checked_and_named(returned: Callable[[Frame], Any], words: str) -> None:
    class Odd(ProtectAll):
        name = "odd"

        def process(self, shown: Frame) -> Any:
            return returned(shown) if shown.index == 3 else [shown]

    sink = FakeSink()
    with pytest.raises(StageError, match=rf"stage 'odd' failed at 0\.120 s: .*{re.escape(words)}"):
        run(pipeline(*PROTECT, spec(Odd)), FakeSource(frames()), lambda: sink)
    assert sink.aborted


def test_another_time_base_is_another_time() -> None:
    class Odd(ProtectAll):
        def process(self, shown: Frame) -> Any:
            return [replace(shown, time_base=shown.time_base / 2)]

    with pytest.raises(StageError, match="the time of frame #0 was changed"):
        run(pipeline(*PROTECT, spec(Odd)), FakeSource(frames()), FakeSink)


def test_an_error_without_words_says_its_kind() -> None:
    assert str(StageError("odd", None, AssertionError())) == "stage 'odd' failed: AssertionError"


def test_a_stage_that_cannot_say_what_it_loaded_is_named() -> None:
    class Silent(ProtectAll):
        def about(self) -> dict[str, str]:
            raise RuntimeError("no card")

    with pytest.raises(StageError, match="stage 'protect' failed: no card"):
        run(pipeline(spec(FindOne), spec(Silent)), FakeSource(frames()), FakeSink)


def test_nothing_is_read_or_created_when_a_stage_cannot_be_opened() -> None:
    source, made = FakeSource(frames()), []
    with pytest.raises(StageError, match="stage 'troubled' failed: the network is damaged"):
        run(pipeline(*PROTECT, spec(Troubled, how="open")), source, lambda: made.append(1))
    assert source.reads == 0
    assert made == []


def test_our_own_error_while_opening_keeps_its_kind() -> None:
    class NoEngine(ProtectAll):
        def open(self) -> None:
            raise EngineError("the engine file is damaged")

    with pytest.raises(EngineError, match="the engine file is damaged"):
        run(pipeline(spec(FindOne), spec(NoEngine)), FakeSource(frames()), FakeSink)


def test_a_sink_that_cannot_be_created_ends_the_run() -> None:
    def refuse() -> FakeSink:
        raise SourceError("the output exists")

    with pytest.raises(SourceError, match="the output exists"):
        run(pipeline(*PROTECT), FakeSource(frames()), refuse)


def test_stages_are_closed_after_an_error_and_the_first_error_wins() -> None:
    closed: list[str] = []

    class Watched(ProtectAll):
        def close(self) -> None:
            closed.append("protect")
            raise RuntimeError("also broken")

    with pytest.raises(StageError, match="the picture is odd"):
        run(pipeline(spec(FindOne), spec(Watched), spec(Troubled)), FakeSource(frames()), FakeSink)
    assert closed == ["protect"]


def test_an_error_while_closing_is_an_error() -> None:
    sink = FakeSink()
    with pytest.raises(StageError, match="the network will not go"):
        run(pipeline(*PROTECT, spec(Troubled, how="close")), FakeSource(frames()), lambda: sink)
    assert sink.aborted
    assert not sink.closed


def test_stages_are_closed_from_the_last_to_the_first_and_the_first_error_of_it_is_told() -> None:
    closed: list[str] = []

    def closing(name: str) -> type[ProtectAll]:
        def close(stage: ProtectAll) -> None:
            closed.append(name)
            raise RuntimeError(f"{name} will not go")

        return type(name, (ProtectAll,), {"name": name, "close": close})

    with pytest.raises(StageError, match="third will not go"):
        run(pipeline(spec(FindOne), spec(closing("second")), spec(closing("third"))), FakeSource(frames()), FakeSink)
    assert closed == ["third", "second"]


def test_stop_joins_all_and_aborts() -> None:
    stop, sink = threading.Event(), FakeSink()

    def endless() -> Iterator[object]:
        index = 0
        while True:
            yield frame(index)
            index += 1

    with pytest.raises(StoppedError):
        run(pipeline(*PROTECT), FakeSource(endless()), lambda: sink, stop=stop, on_progress=lambda p: stop.set())
    assert sink.aborted
    assert not sink.closed


def test_an_error_in_the_callers_progress_ends_the_run_too() -> None:
    sink = FakeSink(gate=threading.Event())

    def interrupted(progress: object) -> None:
        sink.gate.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(pipeline(*PROTECT), FakeSource(frames(50)), lambda: sink, on_progress=interrupted)


@pytest.fixture
def hanging() -> Iterator[type[ProtectAll]]:
    """A stage whose engine does not answer at picture 3 until the test is over."""
    answer = threading.Event()

    class Hanging(ProtectAll):
        def process(self, shown: Frame) -> Any:
            if shown.index == 3:
                answer.wait()
            return super().process(shown)

    yield Hanging
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "stream-guard-stages":
            thread.join()


def stopped_at_once(stage: type[ProtectAll], sink: FakeSink) -> None:
    """A run that is told to stop at its first progress."""
    stop = threading.Event()
    stages = pipeline(spec(FindOne), spec(stage))
    run(stages, FakeSource(frames()), lambda: sink, stop=stop, on_progress=lambda progress: stop.set())


def test_an_engine_that_hangs_is_left_behind(
    hanging: type[ProtectAll], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stream_guard.pipeline.STAGES_SECONDS", 0.2)
    sink = FakeSink()
    with pytest.raises(StoppedError):
        stopped_at_once(hanging, sink)
    assert sink.aborted
    assert "the stages did not answer for 0.2 s and are left behind" in caplog.text


def test_an_impatient_user_finds_no_half_output_either(
    hanging: type[ProtectAll], monkeypatch: pytest.MonkeyPatch
) -> None:
    join = Crew.join

    def interrupted(self: Crew, *names: str, seconds: float | None = None) -> tuple[str, ...]:
        if names == ("stages",):
            raise KeyboardInterrupt
        return join(self, *names, seconds=seconds)

    monkeypatch.setattr(Crew, "join", interrupted)
    sink = FakeSink()
    with pytest.raises(KeyboardInterrupt):
        stopped_at_once(hanging, sink)
    assert sink.aborted


def test_a_source_without_pictures_is_refused() -> None:
    sink = FakeSink()
    with pytest.raises(SourceError, match="no picture could be decoded"):
        run(pipeline(*PROTECT), FakeSource([FakePacket(0)]), lambda: sink)
    assert sink.aborted
