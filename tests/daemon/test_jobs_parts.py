"""The small parts of segmented jobs: decoding times, packet files, signatures, what an exit means."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.daemon.control import JobState
from stream_guard.daemon.jobs import WorkerExit
from stream_guard.daemon.jobs.outcomes import MOST_INTERRUPTIONS, judge, retry_wait
from stream_guard.daemon.jobs.signing import sign, verify
from stream_guard.daemon.jobs.store import Job
from stream_guard.daemon.settings import JobSettings
from stream_guard.errors import SinkError
from stream_guard.media.join import decoding_times
from stream_guard.media.packets import PacketFile, Stored, read_packets, read_record


@given(st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=8), min_size=1, max_size=6), st.randoms())
def test_decoding_times_rise_and_never_come_after_their_picture(segments: list[list[int]], chance: object) -> None:
    now, stamps = -20, []
    for steps in segments:
        group = []
        for step in steps:
            now += step
            group.append(now)
        chance.shuffle(group)  # type: ignore[attr-defined]
        stamps += group
    times = decoding_times(stamps)
    assert len(times) == len(stamps)
    assert all(before < after for before, after in pairwise(times))
    assert all(dts <= pts for dts, pts in zip(times, stamps, strict=True))
    if stamps == sorted(stamps):
        assert list(times) == stamps


def test_decoding_times_rise_where_two_pictures_share_a_time() -> None:
    """As of a gif, which counts in 1/100 s, where one segment ends and the next begins."""
    assert list(decoding_times([0, 3, 3, 3, 9])) == [0, 3, 4, 5, 9]


PACKETS = [
    Stored(7, 5, 3, True, False, b"first"),
    Stored(-9, None, 0, False, True, b""),
    Stored(1 << 40, -1, 1, False, False, bytes(range(256)) * 400),
]


def written(folder: Path) -> Path:
    path = folder / "00000000.segment"
    file = PacketFile(str(path))
    for packet in PACKETS:
        file.add(packet)
    assert not path.exists()
    file.finish({"number": 0, "next": None})
    return path


def test_packets_come_back_as_they_were(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert read_record(str(path)) == {"number": 0, "next": None}
    assert list(read_packets(str(path))) == PACKETS
    assert [p.pts for p in read_packets(str(path), payloads=False)] == [7, -9, 1 << 40]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert PACKETS[0].packet(3, Fraction(1, 25)).dts == 3


@pytest.mark.parametrize("at", [0, 9, 40, 5000, -1, -20, -40])
def test_a_damaged_or_shortened_file_is_none(tmp_path: Path, at: int) -> None:
    path = written(tmp_path)
    data = path.read_bytes()
    changed = bytearray(data)
    changed[at] ^= 0x40
    path.write_bytes(bytes(changed))
    assert read_record(str(path)) is None
    path.write_bytes(data[:at] if at else b"")
    assert read_record(str(path)) is None
    assert read_record(str(tmp_path / "missing")) is None


def test_a_full_disk_is_said_in_words() -> None:
    file = PacketFile.__new__(PacketFile)
    with pytest.raises(SinkError, match="no such file"):
        file.__init__("/nowhere/at/all.segment")  # type: ignore[misc]


def test_a_signature_verifies_what_was_signed_and_nothing_else() -> None:
    body, now = b'{"id": 1}', 1_700_000_000.0
    header = sign(body, "secret", now)
    assert header == f"t=1700000000,v1={header.partition('v1=')[2]}"
    assert verify(header, body, "secret", now=now + 299)
    assert verify(header + ",v1=00", body, "secret", now=now)
    assert not verify(header, body, "secret", now=now + 301)
    assert not verify(header, body, "secret", now=now - 301)
    assert not verify(header, body + b" ", "secret", now=now)
    assert not verify(header, body, "other", now=now)
    assert not verify(sign(body, "", now), body, "", now=now)
    for broken in ("", "t=1", "v1=00", header.replace("17", "18"), "t=x,v1=y", "t=²,v1=é", f"{header},t=1"):
        assert not verify(broken, body, "secret", now=now)


def job(*, failures: int = 0, interruptions: int = 0, retries: int = 2) -> Job:
    settings = JobSettings(source="/a.mp4", output="/b.mp4", retries=retries)
    state = JobState(
        id="a", phase="running", kind="protect", source="/a.mp4", output="/b.mp4", priority=0, attempts=1, created=0
    )
    return Job(state, settings, failures, interruptions, False)


@pytest.mark.parametrize(
    ("how", "more", "outcome"),
    [
        (WorkerExit(0), {}, "completed"),
        (WorkerExit(3), {}, "rejected"),
        (WorkerExit(0), {"cancelled": True}, "completed"),
        (WorkerExit(4), {"cancelled": True}, "aborted"),
        (WorkerExit(-9), {"cancelled": True}, "aborted"),
        (WorkerExit(4), {"draining": True}, None),
        (WorkerExit(4), {}, None),
        (WorkerExit(2), {}, "failed"),
        (WorkerExit(2), {"draining": True}, "failed"),
        (WorkerExit(1), {}, None),
        (WorkerExit(1), {"permanent": True}, "failed"),
        (WorkerExit(1), {"job": job(failures=2)}, "failed"),
        (WorkerExit(1), {"job": job(retries=0)}, "failed"),
        (WorkerExit(-11), {}, None),
        (WorkerExit(-9, "stuck"), {}, None),
        (WorkerExit(-9, "memory"), {}, "killed_memory"),
        (WorkerExit(-24, "cpu"), {}, "failed"),
        (WorkerExit(-9, "shutdown"), {}, None),
        (WorkerExit(-9), {"draining": True}, None),
        (WorkerExit(-9, "shutdown"), {"job": job(interruptions=MOST_INTERRUPTIONS - 1)}, "killed_shutdown"),
    ],
)
def test_what_an_exit_means(how: WorkerExit, more: dict[str, object], outcome: str | None) -> None:
    flags = {"cancelled": False, "draining": False, "permanent": False, "job": job(), **more}
    judged = judge(
        flags["job"],  # type: ignore[arg-type]
        how,
        "words",
        bool(flags["permanent"]),
        cancelled=bool(flags["cancelled"]),
        draining=bool(flags["draining"]),
    )
    assert judged.outcome == outcome
    assert judged.failed == (outcome is None and how.code != 4 and judged.wait > 0)


def test_waits_double_up_to_a_bound() -> None:
    waits = [max(retry_wait(failures) for _ in range(200)) for failures in range(9)]
    assert all(after > before for before, after in pairwise(waits[:6]))
    assert max(waits) <= 600
    assert retry_wait(10_000) <= 600
