"""Jobs with stages that remember: whatever of the past reaches a later segment shows in its pixels."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from stream_guard.stages.base import Stage, StageOptions
from stream_guard.stages.registry import GROUP
from stream_guard.types import Box, Face, Frame, Verdict


class Remember(Stage):
    """Writes into each picture what it has seen so far, and gives pictures out three at a time."""

    name = "remember"
    description = "writes its past into the picture"
    protects = True

    class Options(StageOptions):
        salt: int = 0
        slow: float = 0.0
        misses: int = 0
        """Every so many pictures a face stays unprotected; all get a verdict then. 0: none."""

    options: Options

    def open(self) -> None:
        self._seen, self._held = self.options.salt, list[Frame]()

    def process(self, shown: Frame) -> Iterable[Frame]:
        import time

        time.sleep(self.options.slow)
        self._seen = zlib.crc32(f"{self._seen} {shown.pts}".encode())
        picture = shown.picture
        picture.make_writable()
        plane = picture.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        rows[8:40, 8:40] = self._seen % 200 + 20
        face, verdicts = Face(track=1, box=Box(8, 8, 40, 40), score=0.9).protected(), ()
        if self.options.misses:
            missed = shown.index % self.options.misses == 0
            face = face.unprotected("too_small" if shown.index % 2 else "engine_failed") if missed else face
            verdicts = (Verdict(self.name, "missed" if missed else "seen", 0.5),)
        self._held.append(replace(shown, faces=(face,), faces_known=True, verdicts=verdicts))
        if len(self._held) == 3:
            yield from self.flush()

    def flush(self) -> Iterable[Frame]:
        held, self._held = self._held, []
        return held

    def about(self) -> dict[str, str]:
        return {"engine": "memory", "sha256": str(self.options.salt)}


class Judge(Stage):
    """Calls every picture what its option says."""

    name = "judge"
    description = "judges"
    labels = ("fine", "bad")

    class Options(StageOptions):
        says: str = "fine"

    options: Options

    def process(self, shown: Frame) -> Iterable[Frame]:
        return [replace(shown, verdicts=(Verdict("judge", self.options.says, 0.9),))]


def install(folder: Path) -> Path:
    """A distribution with the stage and a pipeline file; returns the pipeline's path. `folder` goes on the path."""
    info = folder / "remembering-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: remembering\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\nremember = tests.support.jobs:Remember\njudge = tests.support.jobs:Judge\n"
    )
    path = folder / "remember.yaml"
    (folder / "judge.yaml").write_text("name: judge\nstages:\n  - judge\nreject:\n  judge: [bad]\n")
    path.write_text("name: remember\nstages:\n  - remember\n")
    return path


@dataclass(frozen=True)
class Content:
    """All that a viewer gets of a file: pictures as (pts, samples), and packets as (pts, dts, duration, bytes)."""

    pictures: dict[int, list[tuple[Fraction, int]]]
    packets: dict[int, list[tuple[Any, ...]]]


def content(path: Path) -> Content:
    pictures: dict[int, list[tuple[Fraction, int]]] = {}
    packets: dict[int, list[tuple[Any, ...]]] = {}
    with av.open(str(path), metadata_errors="surrogateescape") as container:
        for packet in container.demux():
            base = Fraction(packet.time_base) if packet.time_base else Fraction(1)
            if packet.size:
                times = tuple(None if t is None else t * base for t in (packet.pts, packet.dts, packet.duration))
                packets.setdefault(packet.stream_index, []).append((*times, zlib.crc32(bytes(packet))))
            if packet.stream.type == "video":
                for frame in packet.decode():
                    seen = zlib.crc32(frame.to_ndarray(format="rgb24").tobytes())
                    pictures.setdefault(packet.stream_index, []).append(((frame.pts or 0) * base, seen))
    return Content(pictures, packets)
