"""Metrics of many workers on one page: nothing counts down, nothing stays that is gone."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.daemon.aggregate import OTHER, OWNER, RETAINED_SECONDS, SCRAPED_SECONDS, Aggregate
from stream_guard.daemon.protocol import Lines, encode, pack, unpack
from stream_guard.daemon.settings import MetricsSection
from stream_guard.metrics import DAEMON_METRICS, Metrics, expose, families


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Worker:
    """A worker's registry, sent as a worker sends it."""

    def __init__(self, page: Aggregate, stream: str) -> None:
        self.metrics, self.page, self.stream = Metrics(), page, stream

    def report(self, frames: int, queue: int = 0) -> None:
        self.metrics["frames_in"].inc(frames)
        self.metrics["queue_frames"].labels("decoded").set(queue)
        self.metrics["stage_duration_seconds"].labels("disrupt").observe(0.02)
        self.metrics["engine_loaded"].labels("disrupt").set(1)
        message = encode({"type": "metrics", "families": pack(families(self.metrics.registry))})
        (received,) = Lines().feed(message)
        self.page.update(self.stream, self, unpack(received["families"]))

    def end(self) -> None:
        self.page.ended(self.stream, self)


def values(page: Aggregate) -> dict[str, float]:
    lines = [line for line in expose(page.page()).decode().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def frames(page: Aggregate, stream: str) -> float | None:
    return values(page).get(f'stream_guard_frames_in_total{{stream="{stream}"}}')


def test_what_a_worker_had_in_flight_when_it_died_is_dropped() -> None:
    page = Aggregate(MetricsSection())
    first, second = Worker(page, "one"), Worker(page, "one")
    for worker, inside in ((first, 3), (second, 0)):
        worker.metrics["frames_in_flight"].set(inside)
        worker.metrics["frames_out"].inc(5)
        worker.report(5 + inside)
        worker.end()
    shown = values(page)
    dropped = 'stream_guard_frames_dropped_total{reason="worker_died",stream="one"}'
    assert shown[dropped] == 3
    assert frames(page, "one") == shown['stream_guard_frames_out_total{stream="one"}'] + shown[dropped]
    assert 'stream_guard_frames_in_flight{stream="one"}' not in shown


def test_counters_survive_a_restart_and_gauges_do_not() -> None:
    page = Aggregate(MetricsSection())
    first = Worker(page, "one")
    first.report(7, queue=4)
    queue = 'stream_guard_queue_frames{queue="decoded",stream="one"}'
    assert values(page)[queue] == 4
    first.end()
    assert frames(page, "one") == 7
    assert queue not in values(page)
    second = Worker(page, "one")
    second.report(2, queue=1)
    assert frames(page, "one") == 9
    assert values(page)[queue] == 1
    assert values(page)['stream_guard_stage_duration_seconds_count{stage="disrupt",stream="one"}'] == 2


def test_a_removed_stream_is_shown_for_a_while_and_then_no_more() -> None:
    clock = Clock()
    page = Aggregate(MetricsSection(), clock)
    worker = Worker(page, "one")
    worker.report(7)
    worker.end()
    page.removed("one")
    clock.now = RETAINED_SECONDS - 1
    assert frames(page, "one") == 7
    clock.now = RETAINED_SECONDS + 1
    assert values(page) == {}


def test_a_stream_that_comes_back_goes_on_counting() -> None:
    clock = Clock()
    page = Aggregate(MetricsSection(), clock)
    worker = Worker(page, "one")
    worker.report(7)
    worker.end()
    page.removed("one")
    clock.now = 10.0
    Worker(page, "one").report(1)
    clock.now = RETAINED_SECONDS + 20
    assert frames(page, "one") == 8


def test_streams_beyond_the_bound_share_a_label_that_never_counts_down() -> None:
    clock = Clock()
    page = Aggregate(MetricsSection(max_streams=2), clock)
    workers = [Worker(page, f"s{number}") for number in range(5)]
    for worker in workers:
        worker.report(1, queue=2)
    assert frames(page, "s0") == frames(page, "s1") == 1
    assert frames(page, OTHER) == 3
    assert values(page)['stream_guard_queue_frames{queue="decoded",stream="other"}'] == 6
    assert values(page)['stream_guard_engine_loaded{stage="disrupt",stream="other"}'] == 1
    workers[4].end()
    page.removed("s4")
    clock.now = RETAINED_SECONDS * 2
    assert frames(page, OTHER) == 3
    assert values(page)['stream_guard_queue_frames{queue="decoded",stream="other"}'] == 4


def test_a_stream_that_was_removed_and_scraped_makes_room_for_another() -> None:
    clock = Clock()
    page = Aggregate(MetricsSection(max_streams=2), clock)
    for name in ("one", "two"):
        worker = Worker(page, name)
        worker.report(7)
        worker.end()
        page.removed(name)
        clock.now += 10
    clock.now = SCRAPED_SECONDS - 1
    Worker(page, "early").report(1)
    assert (frames(page, "early"), frames(page, OTHER)) == (None, 1), "nobody may have scraped them yet"
    clock.now = SCRAPED_SECONDS + 1
    Worker(page, "late").report(2)
    assert (frames(page, "one"), frames(page, "two"), frames(page, "late")) == (None, 7, 2), "the longest gone ends"
    Worker(page, "later").report(1)
    assert (frames(page, "two"), frames(page, "later"), frames(page, OTHER)) == (7, None, 2)


def test_jobs_and_what_is_beyond_the_bound_take_no_streams_place() -> None:
    page = Aggregate(MetricsSection(max_streams=2))
    for number in range(3):
        Worker(page, f"s{number}").report(1)
    Worker(page, OWNER).report(5)
    assert (frames(page, "s0"), frames(page, "s1"), frames(page, OTHER), frames(page, OWNER)) == (1, 1, 1, 5)
    page.removed("s0")
    assert page.label("s3") == OTHER, "it was just removed, and its worker has not even ended"


def test_without_the_label_all_streams_add_up_for_ever() -> None:
    clock = Clock()
    page = Aggregate(MetricsSection(stream_label=False), clock)
    for name in ("one", "two"):
        worker = Worker(page, name)
        worker.report(4)
        worker.end()
        page.removed(name)
    assert values(page)["stream_guard_frames_in_total"] == 8
    clock.now = RETAINED_SECONDS * 2
    assert values(page)["stream_guard_frames_in_total"] == 8
    Worker(page, "three").report(1)
    assert values(page)["stream_guard_frames_in_total"] == 9


@given(
    st.lists(st.tuples(st.sampled_from(["report", "end", "remove", "wait"]), st.integers(0, 3)), max_size=40),
    st.integers(1, 3),
)
def test_totals_never_count_down(steps: list[tuple[str, int]], bound: int) -> None:
    clock = Clock()
    page = Aggregate(MetricsSection(stream_label=False, max_streams=bound), clock)
    workers: dict[int, Worker] = {}
    counted = 0
    for step, number in steps:
        if step == "report":
            workers.setdefault(number, Worker(page, f"s{number}")).report(1)
            counted += 1
        elif step == "wait":
            clock.now += RETAINED_SECONDS
        elif number in workers:
            workers.pop(number).end()
            if step == "remove":
                page.removed(f"s{number}")
        assert values(page).get("stream_guard_frames_in_total", 0) == counted


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_wrong() -> None:
    page = Aggregate(MetricsSection())
    for name in ("one", "two"):
        Worker(page, name).report(3)
    own = Metrics(of=DAEMON_METRICS)
    text = expose([*families(own.registry), *page.page()])
    check = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")
