"""`deface` (the anonymiser) as its users run it: its command, in a process of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from stream_guard.errors import StreamGuardError

DEFACE_SIDES: dict[str, list[str]] = {"deface": [], "deface_640x360": ["-s", "640x360"]}


def find_deface() -> str | None:
    """The command, beside this Python or on the path."""
    beside = Path(sys.executable).with_name("deface")
    return str(beside) if beside.is_file() else shutil.which("deface")


def deface_seconds(clip: Path, target: Path, extra: list[str]) -> float:
    """The wall seconds of one run, which must have written `target`. Raises StreamGuardError where it failed."""
    command = find_deface()
    if command is None:
        raise StreamGuardError("deface was not found; install it, or leave it out with --without deface")
    target.unlink(missing_ok=True)
    started = perf_counter()
    done = subprocess.run([command, str(clip), "-o", str(target), *extra], capture_output=True, text=True, check=False)
    seconds = perf_counter() - started
    if done.returncode or not target.is_file():
        tail = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise StreamGuardError(f"deface failed with code {done.returncode}: {tail[0]}; leave it out: --without deface")
    return seconds
