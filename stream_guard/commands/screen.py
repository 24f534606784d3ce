"""`stream-guard screen`: is this video a deepfake, or perturbed? Rejects by the pipeline's policy."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ExitCode
from .console import emit, emit_json, say, warn
from .counting import counting
from .stopping import stopping

if TYPE_CHECKING:
    from ..screen import ScreenReport


def screen(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="The video to look at.")],
    pipeline: Annotated[str, typer.Option(help="A bundled pipeline's name or the path of a .yaml file.")] = "screen",
    backend: Annotated[str | None, typer.Option(help="What runs the networks: see `engines list`.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="STAGE.OPTION=VALUE", help="Any stage option.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; the report and warnings still.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON and nothing else.")] = False,
) -> ExitCode:
    """Judge every face of a video: real or fake, clean or perturbed. Ends with code 3 when the policy rejects it.

    The policy is `reject` in the pipeline. Content protected by `stream-guard protect` is perturbed by design, and is
    rightly called so.
    """
    from ..config import Override, load_pipeline, parse_set
    from ..screen import screen_file
    from ..stages.registry import discover

    overrides = [Override("*.backend", backend, f"--backend {backend}")] if backend is not None else []
    registry = discover()
    for problem in registry.problems:
        warn(problem)
    config = load_pipeline(pipeline, [*overrides, *(parse_set(text) for text in settings or [])], registry)
    with ExitStack() as stack:
        stop = stack.enter_context(stopping())
        count = stack.enter_context(counting("screening", quiet or as_json))
        report = screen_file(
            source, config, stop=stop, on_progress=lambda p: count(p.frames, p.total_frames or p.frames)
        )
    return _conclude(report, as_json)


def _conclude(report: ScreenReport, as_json: bool) -> ExitCode:
    if as_json:
        emit_json(report.to_json())
    else:
        for line in lines(report):
            emit(line)
    if report.truncation:
        warn(f"{report.truncation}; what is there was judged")
    if report.rejected and as_json:  # for a person it stands at the report's end
        say("rejected: " + "; ".join(report.causes))
    return ExitCode.REJECTED if report.rejected else ExitCode.DONE


def lines(report: ScreenReport) -> list[str]:
    """The report for a person: a line a face and stage, then the outcome."""
    rows = []
    for verdict in report.verdicts:
        who = "no face" if verdict.track is None else f"face {verdict.track}"
        score = "" if verdict.score is None else f"{verdict.score:.2f}"
        notes = ", ".join(note for note in (verdict.region, verdict.reason) if note)
        span = f"{verdict.first_seconds:.1f} to {verdict.last_seconds:.1f} s"
        rows.append(f"{verdict.stage:<8} {who:<9} {verdict.label:<10} {score:>5}  {span:<18} {notes}".rstrip())
    causes = f": {'; '.join(report.causes)}" if report.causes else ""
    return [*rows, f"{report.outcome}{causes}"]
