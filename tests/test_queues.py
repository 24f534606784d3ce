"""The bounded queue between two threads by itself."""

from __future__ import annotations

import threading

from stream_guard.queues import AbortedError, FrameQueue


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
