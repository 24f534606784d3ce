"""What audits are tried on: faces that never move, and a change whose figures are known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import typer
from typer.testing import CliRunner

from stream_guard.commands import audit as command
from stream_guard.commands.console import guarded
from stream_guard.media import EncoderSettings, FileSink, open_source, pixels
from stream_guard.stages.base import Stage
from stream_guard.types import Box, Face, Frame, head_region

FACE = Box(60, 40, 100, 90)
LOSSLESS = EncoderSettings(codec="libx264", preset="ultrafast", options={"qp": "0"}, threads=1)


class StillFace(Stage):
    """The same face in every frame."""

    name, description = "still", "one face that never moves"

    def process(self, frame: Frame) -> Iterable[Frame]:
        yield replace(frame, faces=(Face(1, FACE, 1.0),), faces_known=True)


class NoFace(Stage):
    name, description = "none", "no face at all"

    def process(self, frame: Frame) -> Iterable[Frame]:
        yield replace(frame, faces_known=True)


def perturbed(
    original: Path, path: Path, settings: EncoderSettings, *, skip: int | None = None, levels: int = 12
) -> Path:
    """The original with the head region made brighter by `levels`; frame `skip` is left out."""
    delta = np.zeros((3, 8, 8), np.float32)
    delta[0] = levels / 255
    with open_source(str(original)) as source, FileSink(str(path), source, settings) as sink:
        for item in source.read():
            if not isinstance(item, Frame):
                sink.write_packet(item)
            elif item.index != skip:
                pixels.add_perturbation(item.picture, head_region(FACE), delta, epsilon=levels / 255, feather=0.0)
                sink.write(item)
    return path


APP = typer.Typer()
APP.command()(guarded(command.audit))


def run(*arguments: object) -> tuple[int, str, str]:
    """The command `audit`: its exit code and what it wrote to both channels."""
    done = CliRunner().invoke(APP, [str(a) for a in arguments])
    return done.exit_code, done.stdout, done.stderr
