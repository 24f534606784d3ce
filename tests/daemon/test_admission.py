"""What is let in, by figures that the test gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_guard.daemon.admission import GUESSED_BYTES, Admission, AdmissionError, Load
from stream_guard.daemon.proc import Machine, cpu_seconds, machine, resident_bytes
from stream_guard.daemon.settings import AdmissionSettings

GIB = 1024**3
SETTINGS = AdmissionSettings(cpu_headroom=0.1, memory_headroom=GIB)


class Fake:
    """A machine of 4 CPUs whose use and free memory the test sets."""

    def __init__(self, busy: float, free: int = 64 * GIB) -> None:
        self.busy, self.free, self.now = busy, free, 0.0

    def measure(self) -> Machine:
        return Machine(4.0, self.busy * self.now, self.free)

    def admission(self, settings: AdmissionSettings = SETTINGS) -> Admission:
        made = Admission(settings, self.measure, lambda: self.now)
        for _ in range(8):
            self.now += 1.0
            made.sample()
        return made


def settled(cpus: float, memory: int = 200 * 1024**2) -> Load:
    return Load(60.0, cpus, memory)


def test_free_cpus_are_measured() -> None:
    assert Fake(busy=1.5).admission().free_cpus() == pytest.approx(2.5)
    assert Admission(SETTINGS, Fake(1.0).measure).free_cpus() is None


def test_an_idle_machine_takes_a_stream_and_a_busy_one_does_not() -> None:
    Fake(busy=1.0).admission().check([])
    with pytest.raises(AdmissionError, match=r"0\.30 of 4 CPUs are free.*admission\.cpu_headroom") as refused:
        Fake(busy=3.7).admission().check([])
    assert refused.value.label == "cpu"
    assert refused.value.retry_after_seconds > 0


def test_what_streams_took_is_what_one_more_is_taken_to_need() -> None:
    Fake(busy=2.0).admission().check([settled(1.0), settled(1.0)])
    with pytest.raises(AdmissionError, match=r"one more needs about 1\.70"):
        Fake(busy=2.0).admission().check([settled(1.7)])


def test_streams_that_just_started_count_before_they_are_measured() -> None:
    idle = Fake(busy=0.0).admission()
    idle.check([Load(0.0, 0.0, 0)] * 6)
    with pytest.raises(AdmissionError, match=r"just started will take 3\.50"):
        idle.check([Load(0.0, 0.0, 0)] * 7)
    half = Load(2.0, 0.25, GUESSED_BYTES)
    idle.check([half] * 7)


def test_memory_stays_free() -> None:
    with pytest.raises(AdmissionError, match="no memory for one more stream") as refused:
        Fake(busy=0.0, free=GIB + 100 * 1024**2).admission().check([])
    assert refused.value.label == "memory"
    Fake(busy=0.0, free=GIB + GUESSED_BYTES).admission().check([])
    with pytest.raises(AdmissionError):
        Fake(busy=0.0, free=GIB).admission().check_job([])


def test_zero_looks_at_nothing() -> None:
    Fake(busy=4.0, free=0).admission(AdmissionSettings(cpu_headroom=0, memory_headroom=0)).check([settled(1.0)] * 50)


def test_the_number_of_streams_is_bounded_where_wished() -> None:
    with pytest.raises(AdmissionError, match="2 streams run") as refused:
        Fake(busy=0.0).admission(AdmissionSettings(max_streams=2)).check([settled(0.1)] * 2)
    assert refused.value.label == "streams"
    Fake(busy=0.0).admission(AdmissionSettings(max_streams=2)).check([settled(0.1)])


def test_this_machine_is_measured() -> None:
    import os

    now = machine()
    assert now.cpus >= 1
    if os.path.exists("/proc/stat"):
        assert now.used_seconds is not None
        assert now.used_seconds > 0
        assert now.free_bytes is not None
        assert resident_bytes(os.getpid()) > 1024**2
        assert cpu_seconds(os.getpid()) > 0
    assert resident_bytes(2**30) == 0


def test_a_container_has_its_own_limits(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  100 900 100 5000 50 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {64 * 1024**2} kB\n")
    bare = machine(tmp_path)
    assert bare.used_seconds == pytest.approx(2.0), "niced work counts as free"
    assert bare.free_bytes == 64 * GIB
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text("50000 100000\n")
    (group / "cpu.stat").write_text("usage_usec 7000000\nuser_usec 1\n")
    (group / "memory.max").write_text(f"{2 * GIB}\n")
    (group / "memory.current").write_text(f"{GIB}\n")
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {GIB // 2}\n")
    inside = machine(tmp_path)
    assert inside == Machine(0.5, 7.0, GIB + GIB // 2)
    (group / "cpu.max").write_text("max 100000\n")
    (group / "memory.max").write_text("max\n")
    assert machine(tmp_path).free_bytes == 64 * GIB
