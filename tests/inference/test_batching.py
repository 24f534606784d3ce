"""The batcher: batches fill, errors find their callers, nobody waits for nothing, and memory stays flat."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest

from stream_guard.errors import EngineError
from stream_guard.inference import Batcher, Session

DEADLINE = 30.0
BAD = 99.0


class Doubling:
    """Doubles its input. Refuses any batch that holds BAD; `gate` holds a run back until it is set."""

    backend = "doubling"
    inputs: tuple[str, ...] = ("x",)
    outputs: tuple[str, ...] = ("y",)

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.closed = 0
        self._busy = threading.Lock()

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert self._busy.acquire(blocking=False), "two threads at once"
        try:
            self.entered.set()
            assert self.gate.wait(DEADLINE)
            self.sizes.append(len(feeds["x"]))
            if (feeds["x"] == BAD).any():
                raise EngineError(f"a bad value among {len(feeds['x'])}")
            return {"y": feeds["x"] * 2}
        finally:
            self._busy.release()

    def close(self) -> None:
        self.closed += 1


def rows(count: int, value: float = 1.0, width: int = 3) -> dict[str, np.ndarray]:
    return {"x": np.full((count, width), value, np.float32)}


def asked(session: Session, count: int = 1, value: float = 1.0, width: int = 3) -> np.ndarray:
    return session.run(rows(count, value, width))["y"]


def at_once(works: Sequence[Callable[[], object]]) -> list[object]:
    """Each on a thread of its own; what they returned or raised."""
    results: list[object] = [None] * len(works)

    def do(index: int) -> None:
        try:
            results[index] = works[index]()
        except EngineError as error:
            results[index] = error

    threads = [threading.Thread(target=do, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert not any(thread.is_alive() for thread in threads)
    return results


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def behind_one(inner: Doubling, batcher: Batcher, works: Sequence[Callable[[], object]]) -> list[object]:
    """Run one request that holds the session, let the others gather, and let go; without the first's result."""
    inner.gate.clear()
    first = threading.Thread(target=lambda: batcher.run(rows(1)))
    first.start()
    assert inner.entered.wait(DEADLINE)

    def let_go() -> None:
        until(lambda: len(batcher._waiting) == len(works))
        inner.gate.set()

    opener = threading.Thread(target=let_go)
    opener.start()
    results = at_once(works)
    opener.join(DEADLINE)
    first.join(DEADLINE)
    return results


def test_it_is_a_session() -> None:
    batcher = Batcher(Doubling())
    assert isinstance(batcher, Session)
    assert isinstance(batcher.seat(), Session)


def test_a_lone_caller_neither_waits_nor_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = Doubling()
    batcher = Batcher(inner, max_wait_ms=900)
    monkeypatch.setattr(batcher._changed, "wait", lambda *a: pytest.fail("it waited"))
    assert np.array_equal(batcher.run(rows(2))["y"], rows(2, 2.0)["x"])
    assert (batcher.buffers_made, batcher.batches, batcher.rows) == (0, 1, 2)


def test_what_comes_while_the_session_is_busy_is_one_batch() -> None:
    inner = Doubling()
    batcher = Batcher(inner)
    results = behind_one(inner, batcher, [partial(asked, batcher, v, float(v)) for v in (1, 2, 3)])
    assert inner.sizes == [1, 6]
    for value, result in zip((1, 2, 3), results, strict=True):
        assert np.array_equal(np.asarray(result), rows(value, 2.0 * value)["x"])


def test_a_batch_is_no_larger_than_allowed_and_larger_requests_go_alone() -> None:
    inner = Doubling()
    batcher = Batcher(inner, max_batch=4)
    behind_one(inner, batcher, [partial(asked, batcher, n) for n in (3, 3, 2, 9)])
    assert sorted(inner.sizes) == [1, 2, 3, 3, 9]
    assert max(size for size in inner.sizes if size != 9) <= 4


def test_other_shapes_are_other_batches() -> None:
    inner = Doubling()
    batcher = Batcher(inner)
    results = behind_one(inner, batcher, [partial(asked, batcher, 2, 1.0, w) for w in (3, 5, 3)])
    assert sorted(inner.sizes) == [1, 2, 4]
    assert [np.asarray(result).shape for result in results] == [(2, 3), (2, 5), (2, 3)]


def test_an_error_reaches_exactly_the_callers_concerned() -> None:
    inner = Doubling()
    batcher = Batcher(inner)
    results = behind_one(inner, batcher, [partial(asked, batcher, 1, v) for v in (1.0, BAD, 3.0)])
    assert np.array_equal(np.asarray(results[0]), rows(1, 2.0)["x"])
    assert isinstance(results[1], EngineError)
    assert str(results[1]) == "a bad value among 1"
    assert np.array_equal(np.asarray(results[2]), rows(1, 6.0)["x"])
    assert inner.sizes == [1, 3, 1, 1, 1]


def test_seats_wait_for_one_another_and_not_for_those_that_left() -> None:
    inner = Doubling()
    batcher = Batcher(inner, max_wait_ms=999)
    seats = [batcher.seat() for _ in range(3)]
    at_once([partial(asked, seat) for seat in seats])
    assert inner.sizes == [3]
    seats[2].close()
    seats[2].close()
    with pytest.raises(EngineError, match="closed"):
        seats[2].run(rows(1))
    at_once([partial(asked, seat) for seat in seats[:2]])
    assert inner.sizes == [3, 2]


def test_the_wait_for_others_is_bounded() -> None:
    inner = Doubling()
    batcher = Batcher(inner, max_wait_ms=1)
    seats = [batcher.seat(), batcher.seat()]
    assert len(seats[0].run(rows(1))["y"]) == 1  # the other never comes
    assert inner.sizes == [1]


def test_close_finishes_what_was_taken_and_takes_no_more() -> None:
    inner = Doubling()
    batcher = Batcher(inner)
    inner.gate.clear()
    done: list[object] = []
    works = [threading.Thread(target=lambda: done.append(batcher.run(rows(1))["y"])) for _ in range(3)]
    for thread in works:
        thread.start()
    assert inner.entered.wait(DEADLINE)
    until(lambda: len(batcher._waiting) == 2)
    closer = threading.Thread(target=batcher.close)
    closer.start()
    until(lambda: batcher._closed)
    assert inner.closed == 0
    inner.gate.set()
    for thread in [*works, closer]:
        thread.join(DEADLINE)
    assert (len(done), inner.closed) == (3, 1)
    with pytest.raises(EngineError, match="closed"):
        batcher.run(rows(1))


def test_an_interrupted_leader_frees_the_others() -> None:
    class Interrupted(Doubling):
        def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            if (feeds["x"] == BAD).any():
                raise KeyboardInterrupt
            return super().run(feeds)

    batcher = Batcher(Interrupted())
    with pytest.raises(KeyboardInterrupt):
        batcher.run(rows(1, BAD))
    assert len(batcher.run(rows(1))["y"]) == 1
    batcher.close()


@pytest.mark.parametrize(("max_batch", "max_wait_ms"), [(0, 1.0), (4, -1.0), (4, 5000.0)])
def test_limits_that_make_no_sense_are_refused(max_batch: int, max_wait_ms: float) -> None:
    with pytest.raises(EngineError, match="at least 1 row and a wait of 0 to 999 ms"):
        Batcher(Doubling(), max_batch=max_batch, max_wait_ms=max_wait_ms)


def test_memory_is_flat_over_ten_thousand_batches_of_changing_face_counts() -> None:
    inner = Doubling()
    batcher = Batcher(inner, max_batch=8)
    seats = [batcher.seat() for _ in range(2)]

    def some(seat: Session, count: int) -> None:
        for index in range(count):
            wanted = index % 4 + 1
            assert len(seat.run(rows(wanted))["y"]) == wanted

    def both(count: int) -> int:
        at_once([partial(some, seat, count) for seat in seats])
        inner.sizes.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before, made = both(500), batcher.batches
        after = both(10_000)
    finally:
        tracemalloc.stop()
    assert batcher.batches - made >= 10_000
    assert batcher.buffers_made == 1
    assert after - before < 16_384
