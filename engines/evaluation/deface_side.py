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
    """The wall seconds of one run, which must have written `target`."""
    seconds = _run([str(clip), "-o", str(target), *extra])
    if not target.is_file() or not target.stat().st_size:
        raise StreamGuardError(f"deface ended well but wrote no {target.name}; leave it out with --without deface")
    return seconds


def deface_startup_seconds() -> float:
    """How long its command takes to do nothing."""
    return _run(["--help"])


def _run(arguments: list[str]) -> float:
    command = find_deface()
    if command is None:
        raise StreamGuardError("deface was not found; install it, or leave it out with --without deface")
    started = perf_counter()
    done = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
    seconds = perf_counter() - started
    if done.returncode:
        tail = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise StreamGuardError(f"deface failed with code {done.returncode}: {tail[0]}; leave it out: --without deface")
    return seconds
