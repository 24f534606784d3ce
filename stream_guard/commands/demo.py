"""`stream-guard demo`: everything at once, without a file of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import emit, emit_json, say
from .stopping import interrupted_by_term


def demo(
    output: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where to put it: a new folder, or an earlier demo's.")
    ] = Path("stream-guard-demo"),
    seconds: Annotated[float, typer.Option(min=1, max=60, help="Length of the clip.")] = 6.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print files and figures as JSON and nothing else.")] = False,
) -> None:
    """Protect and audit a clip that is drawn on the spot.

    The clip is a talking head warped from a public-domain portrait of an astronaut. The folder then holds the original,
    the protected video, a report with pictures, and the figures.
    """
    from ..audit import words
    from ..config import load_pipeline
    from ..demo import DemoFiles, make_demo

    with interrupted_by_term():
        _, result = make_demo(output, load_pipeline("protect"), seconds=seconds, say=_quiet if as_json else say)
    files = DemoFiles(output)
    if as_json:
        paths = {name: getattr(files, name) for name in ("original", "protected", "report", "figures")}
        emit_json({"files": paths, "audit": result.summary})
        return
    for verdict in words.verdicts(result):
        emit(f"{verdict.headline}\n  {verdict.detail}\n")
    emit(f"The clip:               {files.original}")
    emit(f"The protected clip:     {files.protected}  (play both: a slight tint is all that you should see)")
    emit(f"What an editor makes of them, with pictures: open {files.report} in a browser")
    emit(f"The figures:            {files.figures}")
    emit(f"\n{words.asked(result)}")


def _quiet(text: str) -> None:
    """Says nothing."""
