"""Any run on fakes: report, metrics and what was delivered say the same of each picture."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.config import OnFailure
from stream_guard.metrics import Metrics
from stream_guard.pipeline import run
from stream_guard.types import Frame

from .support.fakes import FakePacket, FakeSink, FakeSource, frame, mean_level, pipeline
from .support.fates import NO_FACE, SMALL, SOUND, UNKNOWN, levels_seen, stages

FATES = (NO_FACE, SOUND, SMALL, UNKNOWN)
REASONS = {SMALL: "too_small", UNKNOWN: "faces_unknown"}
FACES = {SOUND: 1, SMALL: 2}


@dataclass(frozen=True)
class Picture:
    """One picture of the source; where it `starts_anew`, stages and policy forget what was before, in its stream."""

    stream: int
    fate: str
    starts_anew: bool
    packet: bool


PICTURES = st.lists(
    st.builds(
        Picture, st.integers(0, 1), st.sampled_from(FATES), st.integers(0, 9).map(lambda n: not n), st.booleans()
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=40)
@given(
    pictures=PICTURES,
    policy=st.sampled_from([OnFailure.BLOCK, OnFailure.BLACK, OnFailure.PASS]),
    batch_at=st.sampled_from([None, 0, 1, 2]),
    queue=st.sampled_from([1, 2, 5]),
)
def test_report_metrics_and_delivery_agree(
    pictures: list[Picture], policy: OnFailure, batch_at: int | None, queue: int
) -> None:
    made: dict[int, list[tuple[Picture, Frame, float]]] = {0: [], 1: []}
    items: list[object] = []
    for place, each in enumerate(pictures):
        one = frame(len(made[each.stream]), level=40 + 7 * place % 200, stream=each.stream)
        made[each.stream].append((each, one, mean_level(one)))
        items += [one, FakePacket(place)] if each.packet else [one]
    anew = {id(one) for came in made.values() for each, one, _ in came if each.starts_anew}
    config = pipeline(*stages([[each.fate for each, _, _ in came] for came in made.values()], batch_at))
    config = pipeline(*config.stages, on_failure=policy.value, queue=queue)
    sink, metrics = FakeSink(), Metrics()
    source = FakeSource(items, streams=(0, 1))
    report = run(config, source, lambda: sink, metrics=metrics, starts_anew=lambda one: id(one) in anew)

    for stream, came in made.items():
        left = [one for one in sink.frames if one.stream == stream]
        assert [(one.index, one.pts) for one in left] == [(one.index, one.pts) for _, one, _ in came]
        assert [mean_level(one) for one in left] == seen(policy, came)
    packets = [item for item in sink.items if isinstance(item, FakePacket)]
    assert packets == [item for item in items if isinstance(item, FakePacket)]

    def value(name: str, **labels: str) -> float:
        return metrics.registry.get_sample_value(f"stream_guard_{name}", labels) or 0.0

    fates = Counter(each.fate for each in pictures)
    count = len(pictures)
    assert report.frames_in == report.frames_out == value("frames_in_total") == value("frames_out_total") == count
    assert report.frames_without_face == value("frames_without_face_total") == fates[NO_FACE]
    assert report.faces == sum(FACES.get(fate, 0) * number for fate, number in fates.items())
    assert report.protected_faces == value("faces_total", protection="protected") == fates[SOUND] + fates[SMALL]
    assert report.faces - report.protected_faces == value("faces_total", protection="unprotected") == fates[SMALL]
    unfit = {reason: fates[fate] for fate, reason in REASONS.items() if fates[fate]}
    passes = policy is OnFailure.PASS
    assert (report.unprotected_frames, report.blocked_frames) == ((unfit, {}) if passes else ({}, unfit))
    for reason in REASONS.values():
        name, labels = ("unprotected", {}) if passes else ("blocked", {"policy": policy.value})
        assert value(f"{name}_frames_total", reason=reason, **labels) == unfit.get(reason, 0)
    assert value("frame_latency_seconds_count") == value("stage_duration_seconds_count", stage="encode") == count
    assert value("stage_duration_seconds_count", stage="decode") == count


def seen(policy: OnFailure, came: list[tuple[Picture, Frame, float]]) -> list[float]:
    """What is shown of one stream: each part that starts anew by itself."""
    parts: list[list[tuple[bool, float]]] = []
    for each, _, level in came:
        if each.starts_anew or not parts:
            parts.append([])
        parts[-1].append((each.fate not in REASONS, level))
    return [level for part in parts for level in levels_seen(policy, part)]
