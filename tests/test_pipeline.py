"""The runner: order, bounded queues, the failure policy, and the report of a run."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from stream_guard.metrics import Metrics
from stream_guard.pipeline import run
from stream_guard.queues import OTHERS_PER_FRAME

from .support.fakes import (
    PROTECT,
    Batch,
    FakePacket,
    FakeSink,
    FakeSource,
    FindOne,
    ProtectAll,
    frame,
    frames,
    mean_level,
    pipeline,
    spec,
)

pytestmark = pytest.mark.usefixtures("no_thread_left")


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
