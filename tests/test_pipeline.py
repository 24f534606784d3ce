"""The runner: order, policy, every way to end, and nothing left behind."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from stream_guard.crew import Crew
from stream_guard.errors import EngineError, SourceError, StageError, StoppedError
from stream_guard.metrics import Metrics
from stream_guard.pipeline import run
from stream_guard.queues import OTHERS_PER_FRAME, AbortedError, FrameQueue
from stream_guard.types import Frame

from .support.fakes import (
    Batch,
    FakePacket,
    FakeSink,
    FakeSource,
    FindOne,
    ProtectAll,
    Troubled,
    frame,
    mean_level,
    pipeline,
    spec,
)

PROTECT = (spec(FindOne), spec(ProtectAll))


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [t.name for t in threading.enumerate() if t not in before]
    assert left == []


def frames(count: int = 12) -> list:
    return [frame(i) for i in range(count)]


def test_every_frame_and_packet_arrives_in_order() -> None:
    items = [frame(i // 3) if i % 3 == 0 else FakePacket(i) for i in range(60)]
    sink = FakeSink()
    report = run(pipeline(*PROTECT), FakeSource(items), lambda: sink)
    came = [i.index if hasattr(i, "index") else ("packet", i.number) for i in sink.items]
    assert came == [i.index if hasattr(i, "index") else ("packet", i.number) for i in items]
    assert (report.frames_in, report.frames_out, report.faces, report.protected_faces) == (20, 20, 20, 20)
    assert sink.closed
    assert not sink.aborted


def test_a_stage_that_batches_loses_nothing() -> None:
    sink = FakeSink()
    run(pipeline(spec(Batch), *PROTECT, spec(Batch)), FakeSource(frames(13)), lambda: sink)
    assert [f.index for f in sink.frames] == list(range(13))
    assert all(not f.unprotected for f in sink.frames)


@pytest.mark.parametrize("queue", [1, 3])
def test_a_long_lead_in_of_packets_neither_blocks_nor_piles_up(queue: int) -> None:
    count = 20 * OTHERS_PER_FRAME
    gate = threading.Event()
    source = FakeSource([*(FakePacket(i) for i in range(count)), *frames(3), *(FakePacket(i) for i in range(count))])

    class SlowSink(FakeSink):
        def write_packet(self, packet: object) -> None:
            gate.wait(10)
            super().write_packet(packet)

    sink = SlowSink()
    read_before_any_write: list[int] = []

    def look(progress: object) -> None:
        if not gate.is_set():
            read_before_any_write.append(source.reads)
            gate.set()

    run(pipeline(*PROTECT, queue=queue), source, lambda: sink, on_progress=look)
    assert len(sink.items) == 2 * count + 3
    assert read_before_any_write[0] <= 2 * OTHERS_PER_FRAME * queue + 4


def test_waiting_frames_are_bounded() -> None:
    sink = FakeSink(gate=threading.Event())
    source = FakeSource(frames(60))
    seen: list[int] = []

    def look(progress: object) -> None:
        seen.append(source.reads)
        sink.gate.set()

    run(pipeline(*PROTECT, queue=2), source, lambda: sink, on_progress=look)
    assert seen[0] <= 2 + 2 + 3  # two queues, and one frame in each of the three threads


def test_block_shows_the_last_safe_picture_again_with_the_frames_own_time() -> None:
    sink = FakeSink()
    items = [frame(i, level=40 + 20 * i) for i in range(6)]
    report = run(pipeline(spec(FindOne), spec(ProtectAll, miss=(0, 3, 4))), FakeSource(items), lambda: sink)
    levels = [round(mean_level(f)) for f in sink.frames]
    clean = [round(mean_level(frame(i, level=40 + 20 * i))) for i in range(6)]
    assert levels[0] == round(mean_level(frame(0, level=0)))
    assert levels[1:] == [clean[1], clean[2], clean[2], clean[2], clean[5]]
    assert [f.pts for f in sink.frames] == list(range(6))
    assert report.blocked_frames == {"too_small": 3}
    assert report.unprotected_frames == {}


@pytest.mark.parametrize(("policy", "shown"), [("black", 0), ("pass", 160)])
def test_black_and_pass(policy: str, shown: int) -> None:
    sink = FakeSink()
    config = pipeline(spec(FindOne), spec(ProtectAll, miss=(2,)), on_failure=policy)
    report = run(config, FakeSource([frame(i, level=160) for i in range(4)]), lambda: sink)
    assert mean_level(sink.frames[2]) == mean_level(frame(0, level=shown))
    assert mean_level(sink.frames[3]) == mean_level(frame(0, level=160))
    assert report.unprotected_frames == ({"too_small": 1} if policy == "pass" else {})
    assert report.blocked_frames == ({"too_small": 1} if policy == "black" else {})


def test_a_frame_that_nobody_searched_is_not_let_through() -> None:
    sink = FakeSink()
    report = run(pipeline(spec(ProtectAll)), FakeSource(frames(3)), lambda: sink)
    assert report.blocked_frames == {"faces_unknown": 3}
    assert report.frames_without_face == 0
    assert mean_level(sink.frames[0]) == mean_level(frame(0, level=0))


def test_frames_without_a_face_pass_and_are_counted() -> None:
    sink = FakeSink()
    config = pipeline(spec(FindOne, without=(1, 2)), spec(ProtectAll))
    report = run(config, FakeSource(frames(5)), lambda: sink)
    assert report.frames_without_face == 2
    assert report.blocked_frames == {}
    assert mean_level(sink.frames[1]) == mean_level(frame(1))


def test_two_video_streams_do_not_share_stages_or_safe_pictures() -> None:
    items = [replace(frame(i // 2, level=60 if i % 2 else 200), stream=i % 2) for i in range(8)]
    sink = FakeSink()
    config = pipeline(spec(FindOne), spec(ProtectAll, miss=(2,)), spec(Batch))
    run(config, FakeSource(items, streams=(0, 1)), lambda: sink)
    for stream, level in ((0, 200), (1, 60)):
        own = [f for f in sink.frames if f.stream == stream]
        assert [f.index for f in own] == [0, 1, 2, 3]
        assert {mean_level(f) for f in own} == {mean_level(frame(0, level=level))}


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


def test_the_report_is_json_and_agrees_with_the_metrics() -> None:
    registry = CollectorRegistry()
    config = pipeline(spec(FindOne, without=(0,)), spec(ProtectAll, miss=(5,)))
    source = FakeSource(frames(10))
    source.report.corrupt_packets = 2
    report = run(config, source, FakeSink, metrics=Metrics(registry))
    value = registry.get_sample_value
    assert value("stream_guard_frames_in_total") == report.frames_in == 10
    assert value("stream_guard_frames_out_total") == report.frames_out == 10
    assert value("stream_guard_frames_without_face_total") == report.frames_without_face == 1
    assert value("stream_guard_faces_total", {"protection": "protected"}) == report.protected_faces == 8
    assert value("stream_guard_blocked_frames_total", {"reason": "too_small", "policy": "block"}) == 1
    assert value("stream_guard_unprotected_frames_total", {"reason": "too_small"}) is None
    assert value("stream_guard_stage_duration_seconds_count", {"stage": "encode"}) == 10
    assert value("stream_guard_frame_latency_seconds_count") == 10
    assert value("stream_guard_source_corrupt_packets_total") == 2
    assert value("stream_guard_encoded_bytes_total") == 100
    assert value("stream_guard_active_streams") == 0
    assert value("stream_guard_engine_info", {"stage": "protect", "engine": "fake", "backend": "none"}) == 1
    assert value("stream_guard_engine_loaded", {"stage": "protect"}) == 0
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["engines"] == {"protect": {"engine": "fake", "backend": "none"}}
    assert set(plain["stage_seconds"]) == {"decode", "find", "protect", "encode"}


def test_a_queue_that_pushed_out_has_room_again() -> None:
    queue: FrameQueue[int] = FrameQueue(2)
    for number, gives_way in ((1, None), (2, None), (3, 1), (4, 2)):
        assert queue.push(number) == gives_way
    assert (queue.get(), queue.get(), queue.frames) == (3, 4, 0)
    assert (queue.push(5), queue.push(6), queue.push(7)) == (None, None, 5)


def test_a_queue_wakes_its_waiters_when_it_is_aborted() -> None:
    queue: FrameQueue[int] = FrameQueue(1)
    queue.put(1, is_frame=True)
    caught: list[type] = []

    def put() -> None:
        try:
            queue.put(2, is_frame=True)
        except AbortedError as exc:
            caught.append(type(exc))

    waiter = threading.Thread(target=put)
    waiter.start()
    queue.abort()
    waiter.join()
    assert caught == [AbortedError]
    assert queue.frames == 0, "what was dropped does not wait any more"
