"""Any live stream on fakes: status, metrics and what was delivered say the same of each picture."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.backoff import Backoff
from stream_guard.config import OnFailure
from stream_guard.errors import SourceError
from stream_guard.live import slate
from stream_guard.live.spec import LivePhase, LiveStatus, OnGap
from stream_guard.media import stand_in
from stream_guard.types import Frame, Protection

from ..support.fakes import frame, mean_level, picture
from ..support.fates import DEAD, NO_FACE, RAISES, SMALL, SOUND, UNKNOWN, levels_seen, stages
from ..support.live_fakes import Copied, FakeConnection, FakePacket, clip
from .faked import Faked, rising, running

FATES = (NO_FACE, SOUND, SMALL, DEAD, UNKNOWN, RAISES)
STEP = 40
JUMPS = (0, 0, -STEP, -2 * STEP, 3000, -3000, 10**6)
"""By how many milliseconds the clock of a source may be off all at once."""
SLATE = mean_level(frame(0, picture=stand_in.painted(picture(100), slate.draw(64, 48))))
QUICK = Backoff(0.001, 0.01, 0.0)


@dataclass(frozen=True)
class Piece:
    """Pictures of one fate in a row, after a jump of the clock; a packet before them, or not."""

    fate: str
    count: int
    jump: int
    packet: bool


@dataclass(frozen=True)
class Part:
    """A connection; one that gives nothing at all may be refused."""

    pieces: tuple[Piece, ...]
    then: str
    refused: bool


PIECES = st.builds(Piece, st.sampled_from(FATES), st.integers(1, 12), st.sampled_from(JUMPS), st.booleans())
PARTS = st.lists(
    st.builds(Part, st.lists(PIECES, max_size=6).map(tuple), st.sampled_from(["fail", "end"]), st.booleans()),
    min_size=1,
    max_size=3,
)


class Source:
    """The connections of a stream, the fate of each picture and its level; `ends` is called before that picture."""

    def __init__(self, parts: list[Part], ends: int | None, end: Callable[[], None]) -> None:
        self.fates: list[str] = []
        self.levels: list[float] = []
        self.connections: list[Any] = []
        self._ends, self._end = ends, end
        for part in parts:
            refused = part.refused and not part.pieces
            self.connections.append(SourceError("refused") if refused else self._connection(part))

    def _connection(self, part: Part) -> FakeConnection:
        items: list[Any] = []
        time = 0
        for piece in part.pieces:
            time += piece.jump
            items += [Copied(FakePacket(time, time))] if piece.packet else []
            for _ in range(piece.count):
                items += [self._end] if len(self.fates) == self._ends else []
                (shown,) = clip(1, start=time, step=STEP, level=40 + 7 * len(self.fates) % 200)
                items.append(shown)
                self.fates.append(piece.fate)
                self.levels.append(mean_level(shown))
                time += STEP
        return FakeConnection(items, then=part.then)


@settings(max_examples=15)
@given(
    parts=PARTS,
    policy=st.sampled_from(OnFailure),
    on_gap=st.sampled_from(OnGap),
    batch_at=st.sampled_from([None, 0, 1, 2]),
    shut=st.frozensets(st.integers(1, 4)),
    ends=st.one_of(st.none(), st.integers(0, 40)),
    drains=st.booleans(),
    fail_at=st.one_of(st.none(), st.none(), st.integers(0, 40)),
    delay=st.sampled_from([30.0, 0.1]),
)
def test_status_metrics_and_delivery_agree(
    parts: list[Part],
    policy: OnFailure,
    on_gap: OnGap,
    batch_at: int | None,
    shut: frozenset[int],
    ends: int | None,
    drains: bool,
    fail_at: int | None,
    delay: float,
) -> None:
    """However it ends: by itself, drained, stopped or failed. A short delay drops pictures, how many nobody knows."""
    asked = threading.Event()

    def end() -> None:
        asked.set()
        (run.stream.drain if drains else run.stop.set)()

    source = Source(parts, ends, end)
    kept: dict[str, Any] = {"on_failure": policy, "on_gap": on_gap, "max_delay_seconds": delay, "backoff": QUICK}
    scripted = stages([source.fates], batch_at, shut)
    with running(source.connections, *scripted, sink={"fail_at": fail_at}, **kept) as run:
        count = len(source.fates)
        run.until(lambda status: asked.is_set() or run.error or (status.frames_in == count and not status.in_flight))
        status = run.drain()
    own = [shown for shown in run.sinks.frames if shown.index >= 0]
    assert_counts_agree(run, status, own)
    assert rising([shown.pts * shown.time_base for shown in run.sinks.frames])
    assert rising([shown.index for shown in own])
    assert_seen(policy, on_gap, run, source.levels)
    if policy is not OnFailure.DISCONNECT and fail_at is None and ends is None:
        assert run.error is None
        assert_judged_agree(run, status, own, policy)


def assert_counts_agree(run: Faked, status: LiveStatus, own: list[Frame]) -> None:
    assert status.phase is (LivePhase.FAILED if run.error else LivePhase.ENDED)
    assert status.frames_in == run.value("frames_in_total")
    assert status.frames_out == run.value("frames_out_total") == len(own)
    assert status.filled == run.value("filled_frames_total") == len(run.sinks.frames) - len(own)
    assert status.frames_in == status.frames_out + sum(status.dropped.values())
    assert run.value("frames_in_flight") == 0
    for reason in ("late", "stopped", "disordered"):
        assert run.value("frames_dropped_total", reason=reason) == status.dropped.get(reason, 0)
    for reason, count in status.unprotected.items():
        assert run.value("unprotected_frames_total", reason=reason) == count
    for reason, count in status.blocked.items():
        assert run.value("blocked_frames_total", reason=reason, policy=run.spec.on_failure.value) == count


def assert_judged_agree(run: Faked, status: LiveStatus, own: list[Frame], policy: OnFailure) -> None:
    """All that was judged left, so each count is one of what is there to be seen."""
    faces = [face for shown in own for face in shown.faces]
    assert status.faces == len(faces)
    assert status.protected_faces == sum(face.protection is Protection.PROTECTED for face in faces)
    assert run.value("frames_without_face_total") == sum(shown.faces_known and not shown.faces for shown in own)
    unfit = sum(not fit(shown) for shown in own)
    counts = sum(status.unprotected.values()), sum(status.blocked.values())
    assert counts == ((unfit, 0) if policy is OnFailure.PASS else (0, unfit))


def assert_seen(policy: OnFailure, on_gap: OnGap, run: Faked, levels: list[float]) -> None:
    """Of an unfit picture nothing is seen unless it passes; a gap shows the slate, or what was fit and left last."""
    own = [shown for shown in run.sinks.frames if shown.index >= 0]
    wanted = dict(
        zip(
            (shown.index for shown in own),
            levels_seen(policy, [(fit(shown), levels[shown.index]) for shown in own]),
            strict=True,
        )
    )
    last = SLATE
    for shown, level in zip(run.sinks.frames, (level for sink in run.sinks.made for level in sink.levels), strict=True):
        if shown.index >= 0:
            assert level == wanted[shown.index]
            frozen = on_gap is OnGap.FREEZE and (fit(shown) or policy is not OnFailure.PASS)
            last = level if frozen else SLATE
        else:
            assert level == last


def fit(shown: Frame) -> bool:
    return shown.faces_known and not shown.unprotected
