"""Whether there is room for one more stream, by what the machine has left and what streams are seen to take."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from ..wording import counted
from .control import RefusedError
from .proc import Machine, machine
from .settings import AdmissionSettings

WINDOW_SECONDS = 5.0
"""CPU use is the mean over this long."""
SETTLED_SECONDS = 15.0
"""A stream that runs this long is seen in the measurement; a younger one is counted as if it took its share already."""
GUESSED_CPUS, GUESSED_BYTES = 0.5, 400 * 1024**2
"""What a stream is taken to need while none has been measured: 360p at 25 pictures a second, and its engine."""


@dataclass(frozen=True, slots=True)
class Load:
    """One worker: seconds since its stream started to run (0: not yet), its CPU use in CPUs, its memory in bytes."""

    seconds: float
    cpus: float
    bytes: int


class AdmissionError(RefusedError):
    """Refused; `label` is the reason as a metric label."""

    def __init__(self, label: str, reason: str, retry_after_seconds: int = 10) -> None:
        super().__init__(reason, retry_after_seconds)
        self.label = label


class Admission:
    """Thread-safe. `sample` is called about once a second; `check` raises RefusedError where there is no room."""

    def __init__(
        self,
        settings: AdmissionSettings,
        measure: Callable[[], Machine] = machine,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.settings = settings
        self._measure, self._clock = measure, clock
        self._seen: deque[tuple[float, Machine]] = deque()
        self._lock = threading.Lock()

    def sample(self) -> None:
        with self._lock:
            now = self._clock()
            self._seen.append((now, self._measure()))
            while len(self._seen) > 2 and now - self._seen[1][0] >= WINDOW_SECONDS:
                self._seen.popleft()

    def free_cpus(self) -> float | None:
        """CPUs that were idle over the last seconds; None before there are two samples, or where nobody tells."""
        with self._lock:
            if len(self._seen) < 2:
                return None
            (before, first), (now, last) = self._seen[0], self._seen[-1]
        if first.used_seconds is None or last.used_seconds is None or now <= before:
            return None
        return max(0.0, last.cpus - (last.used_seconds - first.used_seconds) / (now - before))

    def check(self, loads: Iterable[Load]) -> None:
        """Room for one more beside the streams with these loads? Raises RefusedError, in words."""
        present = list(loads)
        most = self.settings.max_streams
        if most and len(present) >= most:
            raise AdmissionError(
                "streams",
                f"{counted(len(present), 'stream runs', 'streams run')} and admission.max_streams is {most}; "
                "stop one or raise it",
                30,
            )
        settled = [load for load in present if load.seconds >= SETTLED_SECONDS]
        self._check_cpu(present, _mean([load.cpus for load in settled], GUESSED_CPUS))
        self._check_memory(present, round(_mean([float(load.bytes) for load in settled], GUESSED_BYTES)))

    def check_job(self, loads: Iterable[Load]) -> None:
        """Memory for a file job? Its CPU time is niced and gives way. Raises RefusedError."""
        self._check_memory(list(loads), GUESSED_BYTES)

    def _check_cpu(self, present: list[Load], need: float) -> None:
        free = self.free_cpus()
        if free is None or not self.settings.cpu_headroom:
            return
        coming = sum(max(0.0, need - load.cpus) for load in present if load.seconds < SETTLED_SECONDS)
        with self._lock:
            cpus = self._seen[-1][1].cpus
        keep = self.settings.cpu_headroom * cpus
        if free - coming - need < keep:
            raise AdmissionError(
                "cpu",
                f"no CPU time for one more stream: {free:.2f} of {cpus:g} CPUs are free, streams that just started "
                f"will take {coming:.2f}, one more needs about {need:.2f}, and {keep:.2f} are to stay free "
                "(admission.cpu_headroom)",
            )

    def _check_memory(self, present: list[Load], need: int) -> None:
        free = self._measure().free_bytes
        if free is None or not self.settings.memory_headroom:
            return
        coming = sum(max(0, need - load.bytes) for load in present if load.seconds < SETTLED_SECONDS)
        keep = self.settings.memory_headroom
        if free - coming - need < keep:
            raise AdmissionError(
                "memory",
                f"no memory for one more stream: {_mib(free)} are free, streams that just started will take "
                f"{_mib(coming)}, one more needs about {_mib(need)}, and {_mib(keep)} are to stay free "
                "(admission.memory_headroom)",
            )


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _mib(count: int) -> str:
    return f"{count / 1024**2:.0f} MiB"
