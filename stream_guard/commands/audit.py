"""`stream-guard audit`: what a face editor still makes of a protected video."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ExitCode, UsageError
from ..scratch import scratch_folder
from .bits import bits_per_second
from .console import emit, emit_json, say
from .counting import counting
from .stopping import interrupted_by_term

if TYPE_CHECKING:
    from ..audit.result import AuditResult
    from ..audit.run import AuditOptions
    from ..media import EncoderSettings

MOMENTS = 8
ADVERSARIES = ("magdr",)
SAMPLE, REFERENCE, RESULT = "Generators", "The plain transcode to compare with", "Result"


def audit(
    original: Annotated[Path, typer.Argument(metavar="ORIGINAL", help="The video before protection.")],
    protected: Annotated[Path, typer.Argument(metavar="PROTECTED", help="The protected video as delivered.")],
    generator: Annotated[
        list[str] | None,
        typer.Option(help="A generator to ask, by name or path; repeatable. All of the zoo.", rich_help_panel=SAMPLE),
    ] = None,
    every: Annotated[
        int | None, typer.Option(help="Give them each N-th picture.", rich_help_panel=SAMPLE, metavar="N")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Or about N pictures in all; 24.", rich_help_panel=SAMPLE, metavar="N")
    ] = None,
    backend: Annotated[
        str, typer.Option(help="What runs the networks: see `engines list`.", rich_help_panel=SAMPLE)
    ] = "auto",
    against: Annotated[
        str | None,
        typer.Option(
            help="magdr: also undo the protection as MagDR would, and measure what is left.",
            metavar="ADVERSARY",
            rich_help_panel=SAMPLE,
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="ORIGINAL re-encoded as PROTECTED was, unprotected: its loss is subtracted.", rich_help_panel=REFERENCE
        ),
    ] = None,
    make_reference: Annotated[
        bool,
        typer.Option("--make-reference", help="Make it now, with the options below.", rich_help_panel=REFERENCE),
    ] = False,
    codec: Annotated[str | None, typer.Option(help="As given to `protect`.", rich_help_panel=REFERENCE)] = None,
    preset: Annotated[str | None, typer.Option(help="As given to `protect`.", rich_help_panel=REFERENCE)] = None,
    crf: Annotated[float | None, typer.Option(help="As given to `protect`.", rich_help_panel=REFERENCE)] = None,
    bitrate: Annotated[
        str | None, typer.Option(metavar="BITS", help="As given to `protect`.", rich_help_panel=REFERENCE)
    ] = None,
    gop: Annotated[int | None, typer.Option(help="As given to `protect`.", rich_help_panel=REFERENCE)] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with pictures and figures.", rich_help_panel=RESULT)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing report.", rich_help_panel=RESULT)
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="No progress; the figures and warnings still.", rich_help_panel=RESULT),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON and nothing else.", rich_help_panel=RESULT)
    ] = False,
    fail_under: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="End with code 3 when fewer edits than this share (0 to 1) are disrupted, none could be tried, or the "
            "two videos are not the same pictures.",
            rich_help_panel=RESULT,
        ),
    ] = None,
) -> ExitCode:
    """Measure what protection did to a video.

    Decodes both files, pairs their pictures by time, and lets face-editing networks edit the same face in both. An edit
    is disrupted when its two results differ by a mean squared error of 0.05 or more on images in [-1, 1]. The networks
    are surrogates: published architectures that this project trained itself, for evaluation only; with your own
    checkpoint of one see `python -m engines adopt`. PROTECTED may be of
    another size, as a platform delivers it: ORIGINAL is then resampled to it.
    """
    from ..audit.run import SAMPLES, AuditOptions
    from ..media import EncoderSettings

    settings = EncoderSettings(codec=codec, preset=preset, crf=crf, bit_rate=bits_per_second(bitrate), gop=gop)
    _check(reference, make_reference, settings, fail_under)
    if every is not None and samples is not None:
        raise UsageError("--every and --samples were both given; give one of them")
    if against not in (None, *ADVERSARIES):
        raise UsageError(f"--against {against!r} is not known; choose one of: {', '.join(ADVERSARIES)}")
    options = AuditOptions(
        every=every, samples=SAMPLES if samples is None else samples, moments=MOMENTS if report else 0
    )
    with ExitStack() as stack:
        stack.enter_context(interrupted_by_term())
        if make_reference:
            reference = stack.enter_context(scratch_folder()) / f"plain-transcode{protected.suffix}"
        result = measure(
            *(original, protected, reference, options),
            transcode_as=settings if make_reference else None,
            generators=generator,
            backend=backend,
            report=report,
            overwrite=overwrite,
            quiet=quiet or as_json,
            against=against,
        )
    if as_json:
        emit_json(result.summary)
    else:
        show(result, report)
    return _judged(result, fail_under)


def measure(
    original: Path,
    protected: Path,
    reference: Path | None,
    options: AuditOptions,
    *,
    transcode_as: EncoderSettings | None = None,
    generators: list[str] | None = None,
    backend: str = "auto",
    report: Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    against: str | None = None,
) -> AuditResult:
    """Run an audit with its bar and its report. With `transcode_as`, `reference` is first written that way."""
    from ..audit import run
    from ..audit.probes import load_probes
    from ..audit.report import report_file
    from ..audit.sizes import check_reference_can_be_made
    from ..magdr.purifier import open_purifier
    from ..media import transcode

    with ExitStack() as stack:
        write = None
        if report is not None:
            _check_report(report, [path for path in (original, protected, reference) if path is not None])
            write = stack.enter_context(report_file(report, overwrite=overwrite))
        probes = load_probes(generators or None, backend)
        for probe in probes:
            stack.callback(probe.close)
        if transcode_as is not None:
            check_reference_can_be_made(original, protected)
            transcode(str(original), str(reference), transcode_as, overwrite=overwrite)
        progress = stack.enter_context(counting("auditing", quiet))
        purifier = None
        if against is not None:
            purifier = open_purifier(backend)
            stack.callback(purifier.close)
        result = run.audit(
            original, protected, probes, reference=reference, options=options, purify=purifier, progress=progress
        )
        if write is not None:
            write(result)
    return result


def show(result: AuditResult, report: Path | None) -> None:
    """Print the figures in words."""
    from ..audit import words

    for verdict in words.verdicts(result):
        emit(f"{verdict.headline}\n  {verdict.detail}\n")
    for row in words.rows(result):
        emit(f"{row.what:<42} {row.value:>12}  {row.note}")
    emit(f"\n{words.asked(result)}")
    for warning in words.warnings(result):
        say(f"note: {warning}")
    if report is not None:
        emit(f"\nThe report with pictures: {report}")


def _check(reference: Path | None, make: bool, settings: EncoderSettings, fail_under: float | None) -> None:
    if fail_under is not None and not 0 <= fail_under <= 1:
        raise UsageError(f"--fail-under is {fail_under:g}; it is a share and lies between 0 and 1")
    if reference is not None and make:
        raise UsageError("--reference and --make-reference were both given; give one of them")
    if not make and settings != type(settings)():
        raise UsageError("encoder options describe the plain transcode that is made; give --make-reference with them")


def _check_report(report: Path, inputs: list[Path]) -> None:
    for path in inputs:
        if path.exists() and report.exists() and os.path.samefile(path, report):
            raise UsageError(f"--report {report} is one of the videos; name another file")


def _judged(result: AuditResult, fail_under: float | None) -> ExitCode:
    share = result.worst_share()
    if fail_under is None or (result.alike and share is not None and share >= fail_under):
        return ExitCode.DONE
    if not result.alike:
        say("rejected: the heads of the two videos are hardly alike, so that the figures say nothing of protection")
        return ExitCode.REJECTED
    found = "no edit could be tried" if share is None else f"only {share:.2f} of the edits were disrupted"
    say(f"rejected: {found}, --fail-under asks for {fail_under:g}")
    return ExitCode.REJECTED
