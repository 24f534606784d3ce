"""A job's folder: what it was begun with, and its whole segments. Everything in it is written at once or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import SourceError
from ...media.packets import read_record, sync_folder

PLAN, WHOLE, SUFFIX = "plan.json", "whole.json", ".segment"
LAYOUT = 2
"""Raised when segments of an older version cannot be gone on with."""
SAMPLE = 1 << 20
"""Bytes at the head and at the tail of a source that tell it from another."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A whole segment: its number, its file, and its record."""

    number: int
    path: str
    record: Mapping[str, Any]

    @property
    def last(self) -> bool:
        return self.record["next"] is None


class Folder:
    """`state_dir/segments/ID`. Raises OSError where the system refuses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def segment(self, number: int) -> str:
        return str(self.path / f"{number:08d}{SUFFIX}")

    def plan(self) -> dict[str, Any] | None:
        """What the segments were begun with; None where there are none that could be gone on with."""
        return self._read(PLAN)

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Forget all segments and begin anew."""
        self.clear()
        self._write(PLAN, plan)

    def whole(self) -> dict[str, Any] | None:
        """The mark of an output that is whole, though perhaps without its name yet; see `set_whole`."""
        return self._read(WHOLE)

    def set_whole(self, mark: Mapping[str, Any]) -> None:
        self._write(WHOLE, mark)

    def segments(self) -> list[Segment]:
        """The whole segments from the first on, each read through; files that do not continue them are removed."""
        found: list[Segment] = []
        number: int | None = 0
        while number is not None and (record := read_record(self.segment(number))) is not None:
            found.append(Segment(number, self.segment(number), record))
            following = record["next"]
            number = None if following is None else int(following["number"])
        kept = {Path(one.path).name for one in found}
        for path in self.path.iterdir():
            if path.name not in kept | {PLAN, WHOLE}:
                path.unlink()
        return found

    def clear(self) -> None:
        for path in self.path.iterdir():
            path.unlink()

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            data = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return data if isinstance(data, dict) else None

    def _write(self, name: str, data: Mapping[str, Any]) -> None:
        temporary = self.path / f"{name}.part"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path / name)
        sync_folder(str(self.path))


def identity(path: str) -> dict[str, Any]:
    """What tells the file at `path` from another or a changed one: size, time, hash of head and tail."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            digest = hashlib.sha256(file.read(SAMPLE))
            file.seek(max(0, status.st_size - SAMPLE))
            digest.update(file.read(SAMPLE))
    except OSError as exc:
        raise SourceError(f"cannot open the input {path!r}: {exc.strerror}; check the path") from exc
    return {"bytes": status.st_size, "changed_ns": status.st_mtime_ns, "sha256": digest.hexdigest()}


def differences(plan: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In which of its points a plan is no longer that of now, in words."""
    words = {
        "version": "Stream Guard",
        "source": "the input",
        "settings": "the job's settings",
        "engines": "an engine",
        "parameters": "the encoder",
    }
    return [words.get(key, key) for key in now if plan.get(key) != now[key]]


def remove(path: Path) -> None:
    """Remove a job's folder and all in it; one that is gone already is fine."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)
