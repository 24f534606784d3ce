"""Damaged videos and noise: each is read or refused in words, in time, and without memory that stays."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.support import media

SUFFIXES = (".ts", ".flv", ".mp4", ".mkv")
FEW, MANY = 10, 400
PATIENCE_SECONDS = 60.0
"""One damaged video of a few pictures, on a machine that may do other things."""
GROWTH_MIB = 40.0
MANY_CRASHES = 3


class Reader:
    """The child and its lines. A crash of a decoder is a worker's end: the damages after it go on in a new child."""

    def __init__(self, file: Path, last: int) -> None:
        self._file, self._last = file, last
        self.lines: list[dict[str, Any]] = []
        self.crashes: list[tuple[int, int]] = []

    def run(self) -> None:
        first = 0
        while first < self._last and len(self.crashes) <= MANY_CRASHES:
            first = self._once(first)

    def _once(self, first: int) -> int:
        """Read from this damage on; the number of the damage to go on with."""
        command = [sys.executable, "-m", "tests.media.fuzz_reader", str(self._file), str(first), str(self._last)]
        said = self._file.with_suffix(".stderr")
        with (
            said.open("w") as words,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=words, text=True) as child,
        ):
            assert child.stdout is not None
            found: queue.SimpleQueue[str] = queue.SimpleQueue()
            feeder = threading.Thread(target=lambda: [found.put(line) for line in child.stdout or ()] + [found.put("")])
            feeder.start()
            try:
                while line := found.get(timeout=PATIENCE_SECONDS):
                    self.lines.append(json.loads(line))
                child.wait(PATIENCE_SECONDS)
            except (queue.Empty, subprocess.TimeoutExpired):
                pytest.fail(f"a damaged {self._file.suffix} takes for ever, after {self.lines[-1:]}")
            finally:
                child.kill()
                feeder.join()
        at = self.lines[-1]["seed"] + (self.lines[-1]["what"] == "as_live") if self.lines else first
        at = max(at, first)  # it may have died before its first line
        if at >= self._last:
            return self._last
        # Not by signal: an error of Python that is none of ours.
        assert child.returncode < 0, (at, said.read_text()[-3000:])
        self.crashes.append((at, -child.returncode))
        return int(at) + 1


def fuzzed(folder: Path, suffix: str, count: int) -> Reader:
    reader = Reader(media.plain(folder, frames=6, size=(96, 64), suffix=suffix), count)
    reader.run()
    for seed, number in reader.crashes:
        print(f"damage {seed} of {suffix} ended the reader with signal {number}")
    assert len(reader.crashes) <= MANY_CRASHES, reader.crashes
    return reader


def examine(reader: Reader, count: int) -> None:
    assert len(reader.lines) >= 2 * (count - len(reader.crashes))
    assert {line["what"] for line in reader.lines if line["frames"]} == {"as_file", "as_live"}
    assert any(line["said"] for line in reader.lines), "some are refused"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_videos_are_read_or_refused(tmp_path: Path, suffix: str) -> None:
    examine(fuzzed(tmp_path, suffix, FEW), FEW)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_many_damaged_videos_leave_no_memory_behind(tmp_path: Path, suffix: str) -> None:
    reader = fuzzed(tmp_path, suffix, MANY)
    examine(reader, MANY)
    memory = [line["mib"] for line in reader.lines]
    part = len(memory) // 4
    assert median(memory[-part:]) - median(memory[part : 2 * part]) < GROWTH_MIB
