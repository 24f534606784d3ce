"""What every command line is held to before any work: numbers that can be meant, and places that can be written to."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stream_guard.errors import UsageError

FROM_ZERO = {
    *("aligned", "alarms", "bound_faces", "clean", "crf", "cw_confidence", "minutes", "near", "protected", "seed"),
    *("synthetic", "threads", "tracks"),
}
"""Options that may be 0; every other number must be above it."""
MOST = {"quality": 100, "crf": 51, "seed": 2**32 - 1}
KINDS = ("generator", "detector", "condition", "purified")
PICTURES = (".png", ".jpg")
FOLDERS = ("train", "import", "adopt")
"""Commands whose --out is a run folder; that of the others is a file."""


def add_threads(parser: argparse.ArgumentParser) -> None:
    """The option of every command that computes with torch."""
    words = "CPU threads (0: torch's choice; 1 where anything else runs)"
    parser.add_argument("--threads", type=int, default=0, help=words)


def check(arguments: argparse.Namespace) -> None:
    """Raises UsageError for what no command could work with; makes the folder that --out will be written to."""
    for name, value in vars(arguments).items():
        for number in _numbers(value):
            _in_range(name, number, arguments)
    for words in getattr(arguments, "trained", []):
        _trained(words)
    if getattr(arguments, "work", None):
        _folder(arguments.work, "--work")
    out = getattr(arguments, "out", None)
    if arguments.command in FOLDERS:
        _folder(out or Path("runs") / arguments.name, "--out")
    elif out is not None:
        _picture(arguments)
        _file(out)
    for path in _paths(getattr(arguments, "clips", None)):
        if not path.exists():
            raise UsageError(f"--clips {path}: there is no such file or folder")


def _numbers(value: Any) -> Iterator[float]:
    for one in value if isinstance(value, list | tuple) else [value]:
        if isinstance(one, int | float) and not isinstance(one, bool):
            yield one


def _paths(value: Any) -> Iterator[Path]:
    yield from (one for one in (value if isinstance(value, list | tuple) else [value]) if isinstance(one, Path))


def _in_range(name: str, number: float, arguments: argparse.Namespace) -> None:
    everyone = name == "faces" and getattr(arguments, "table", None) == "detectors"
    zero, most = name in FROM_ZERO or everyone, MOST.get(name, math.inf)
    if not math.isfinite(number) or number < 0 or number > most or (number == 0 and not zero):
        least = "0 or more" if zero else "more than 0" if isinstance(number, float) else "1 or more"
        upper = f" and at most {most}" if name in MOST else ""
        raise UsageError(f"--{name.replace('_', '-')} must be {least}{upper}, got {number:g}")


def _trained(words: str) -> None:
    kind, colon, rest = words.partition(":")
    name, equals, folder = rest.partition("=")
    if kind not in KINDS or not (colon and name and equals and folder):
        raise UsageError(f"--trained takes KIND:NAME=DIR with the kind {', '.join(KINDS)}; got {words!r}")


def _picture(arguments: argparse.Namespace) -> None:
    if arguments.command == "sheet" and arguments.out.suffix.lower() not in PICTURES:
        raise UsageError(f"--out {arguments.out} is no picture: name a file that ends in {' or '.join(PICTURES)}")


def _folder(path: Path, option: str) -> None:
    """A folder, or nothing yet at a place where one can be made."""
    there = next(one for one in (path, *path.absolute().parents) if one.exists() or one.is_symlink())
    if not there.is_dir():
        raise UsageError(f"{option} can't be written: {there} is a file, not a folder; choose another {option}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"{option} can't be written: {there} takes no new files; choose another {option}")


def _file(path: Path) -> None:
    """A file that can be written; its folder is made where it is missing."""
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder: name a file in it")
    _folder(path.parent, "--out")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {path}: its folder can't be made ({error}): choose another --out") from error
    if path.exists() and not os.access(path, os.W_OK):
        raise UsageError(f"--out {path} can't be written to: choose another --out")
