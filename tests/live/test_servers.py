"""The live runner against real servers and publishers on loopback, and what becomes of it when they fail."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from stream_guard.live.spec import LivePhase, LiveSpec, OnGap
from stream_guard.media import EncoderSettings, LiveOutput
from stream_guard.types import Frame

from ..support import servers
from ..support.fakes import FindOne, ProtectAll, pipeline, spec
from ..support.live_fakes import wait_for
from .running import QUICK, Running, running

LIGHT = EncoderSettings(preset="ultrafast", threads=1)
TS_OVER_UDP = ("-muxdelay", "0")


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    wait_for(lambda: not [t for t in threading.enumerate() if t not in before], "for threads to end")


def asked(
    source: str, *outputs: str, record: Path | None = None, stages: tuple[Any, ...] = (), **more: Any
) -> LiveSpec:
    settings: dict[str, Any] = {"backoff": QUICK, "encoder": LIGHT, "stall_seconds": 2.0, "max_delay_seconds": 5.0}
    return LiveSpec(
        "test",
        source,
        tuple(LiveOutput(url) for url in outputs),
        pipeline(*(stages or (spec(FindOne), spec(ProtectAll)))),
        record="" if record is None else str(record),
        **{**settings, **more},
    )


def stamps(path: Path) -> dict[str, list[Fraction]]:
    """The times of what a file holds, by kind of stream."""
    with av.open(str(path)) as container:
        found: dict[str, list[Fraction]] = {stream.type: [] for stream in container.streams}
        for packet in container.demux():
            if packet.pts is not None:
                found[packet.stream.type].append(packet.pts * Fraction(packet.time_base))
    return {kind: sorted(times) for kind, times in found.items()}


def rising(times: list[Fraction]) -> bool:
    return all(a < b for a, b in itertools.pairwise(times))


def pull(url: str, pictures: int) -> int:
    """How many pictures can be decoded from a stream, up to a number."""
    with av.open(url, timeout=20) as container:
        return sum(1 for _ in itertools.islice(container.decode(video=0), pictures))


def test_a_publisher_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    with servers.nginx(tmp_path / "nginx") as nginx:
        source, target = nginx.rtmp("live/key"), nginx.rtmp("protected/key")
        with running(asked(source, target, record=tmp_path / "out.mkv")) as run:
            with servers.publisher(source):
                run.until(lambda status: status.frames_out >= 30)
                assert pull(target, 10) == 10
            run.until(lambda status: status.filled >= 10 and status.phase is LivePhase.GAP)
            before = run.status.frames_out
            with servers.publisher(source):
                run.until(lambda status: status.frames_out >= before + 30)
                assert pull(target, 10) == 10
                status = run.drain()
    assert status.phase is LivePhase.ENDED
    assert status.reconnects >= 1  # more where the machine stands still for longer than a stall may take
    assert status.outputs[0]["reconnects"] == 0
    assert "key" not in str(status.outputs)
    assert status.frames_in == status.frames_out + sum(status.dropped.values())
    found = stamps(tmp_path / "out.mkv")
    assert len(found["video"]) == status.frames_out + status.filled
    assert rising(found["video"])
    assert rising(found["audio"])
    assert abs(found["video"][-1] - found["audio"][-1]) < 1
    silences = [b - a for a, b in itertools.pairwise(found["audio"])]
    assert max(silences) < 1  # the gap itself, several seconds long, is filled


def test_a_media_server_that_is_restarted(tmp_path: Path) -> None:
    with servers.nginx(tmp_path / "nginx") as nginx:
        port, source, target = nginx.rtmp_port, nginx.rtmp("live/key"), nginx.rtmp("protected/key")
        run = Running(asked(source, target))
        run.thread.start()
        with servers.publisher(source):
            run.until(lambda status: status.frames_out >= 30 and status.outputs[0]["state"] == "open")
    try:
        run.until(lambda status: status.phase is LivePhase.GAP)
        with servers.nginx(tmp_path / "again", rtmp_port=port), servers.publisher(source):
            before = run.status.frames_out
            run.until(lambda status: status.frames_out >= before + 30 and status.outputs[0]["state"] == "open")
            assert pull(target, 10) == 10
            status = run.drain()
    finally:
        run.stop.set()
        run.thread.join(30)
    assert status.reconnects >= 1  # more where the machine stands still for longer than a stall may take
    assert status.outputs[0]["reconnects"] >= 1


def damaged(run: Running) -> float:
    return run.value("source_corrupt_packets_total") + run.value("source_corrupt_frames_total")


def test_damaged_packets_are_survived(tmp_path: Path) -> None:
    url = f"udp://127.0.0.1:{servers.free_port()}"
    damage = (*TS_OVER_UDP, "-bsf:v", "noise=amount=1000")
    with (
        running(asked(url, record=tmp_path / "out.mkv")) as run,
        servers.publisher(f"{url}?pkt_size=1316", format="mpegts", options=damage),
    ):
        # Where the noise strikes is left to chance, so the stream runs on until it did.
        run.until(lambda status: status.frames_out >= 60 and damaged(run) > 0)
        status = run.drain()
    assert status.phase is LivePhase.ENDED
    assert rising(stamps(tmp_path / "out.mkv")["video"])


@pytest.mark.parametrize("offset", [500, 100000])
def test_a_clock_that_jumps_is_joined(tmp_path: Path, offset: int) -> None:
    url = f"udp://127.0.0.1:{servers.free_port()}"
    with running(asked(url, record=tmp_path / "out.mkv", stall_seconds=20, read_timeout_seconds=20)) as run:
        with servers.publisher(
            f"{url}?pkt_size=1316", format="mpegts", options=(*TS_OVER_UDP, "-output_ts_offset", str(offset))
        ):
            run.until(lambda status: status.frames_out >= 40)
        before = run.status.frames_out
        with servers.publisher(f"{url}?pkt_size=1316", format="mpegts", options=TS_OVER_UDP):
            run.until(lambda status: status.frames_out >= before + 40)
            status = run.drain()
    assert status.reconnects == 0
    times = stamps(tmp_path / "out.mkv")["video"]
    assert rising(times)
    assert times[-1] - times[0] < 60


class TooSlow(ProtectAll):
    """Takes far longer over a picture than there is time."""

    name = "too_slow"

    def process(self, shown: Frame) -> Iterable[Frame]:
        threading.Event().wait(0.2)
        return super().process(shown)


def test_a_stage_that_is_too_slow_drops_and_keeps_its_bound(tmp_path: Path) -> None:
    url = f"udp://127.0.0.1:{servers.free_port()}"
    slow = (spec(FindOne), spec(TooSlow))
    with (
        running(asked(url, record=tmp_path / "out.mkv", stages=slow, max_delay_seconds=0.4)) as run,
        servers.publisher(f"{url}?pkt_size=1316", format="mpegts", options=TS_OVER_UDP),
    ):
        run.until(lambda status: status.frames_in >= 200)
        assert run.status.in_flight <= 0.4 * 25 + 6
        run.until(lambda status: "too slow" in run.words("limit"))
        status = run.drain()
    assert status.dropped["late"] > status.frames_out
    assert status.unprotected == {}
    assert rising(stamps(tmp_path / "out.mkv")["video"])


class DiesOnce(ProtectAll):
    """Fails for good at its 20th picture; opened again it works."""

    name = "dies_once"
    times_opened = 0

    def open(self) -> None:
        type(self).times_opened += 1
        self.seen = 0

    def process(self, shown: Frame) -> Iterable[Frame]:
        self.seen += 1
        if self.seen >= 20 and self.times_opened == 1:
            raise RuntimeError("the device is lost")
        return super().process(shown)


def test_an_engine_that_dies_in_mid_stream(tmp_path: Path) -> None:
    DiesOnce.times_opened = 0
    with servers.nginx(tmp_path / "nginx") as nginx:
        source = nginx.rtmp("live/key")
        wanted = asked(source, record=tmp_path / "out.mkv", stages=(spec(FindOne), spec(DiesOnce)), on_gap=OnGap.FREEZE)
        with running(wanted) as run, servers.publisher(source):
            run.until(lambda status: "work again" in run.words("error"))
            before = run.status.protected_faces
            run.until(lambda status: status.protected_faces >= before + 20)
            status = run.drain()
    assert status.blocked["engine_failed"] >= 1
    assert status.unprotected == {}
    assert len(stamps(tmp_path / "out.mkv")["video"]) == status.frames_out + status.filled


def test_outputs_are_closed_and_opened_with_close(tmp_path: Path) -> None:
    with servers.nginx(tmp_path / "nginx") as nginx:
        source = nginx.rtmp("live/key")
        with running(asked(source, record=tmp_path / "out.mkv", on_gap=OnGap.CLOSE)) as run:
            for part in (1, 2):
                with servers.publisher(source):
                    run.until(
                        lambda status, part=part: status.frames_out >= 30 * part and status.phase is LivePhase.RUNNING
                    )
                run.until(lambda status: status.phase is LivePhase.GAP)
            status = run.drain()
    files = sorted(tmp_path.glob("out*.mkv"))
    assert len(files) == 2
    assert sum(len(stamps(path)["video"]) for path in files) == status.frames_out
