"""`stream-guard protect`: one video in, the protected video out."""

from __future__ import annotations

import gc
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ExitCode
from ..wording import counted
from .bits import bits_per_second
from .console import emit_json, say, warn
from .progress import reporting
from .stopping import stopping

if TYPE_CHECKING:
    from ..config import Override, PipelineConfig
    from ..outcome import RunReport

PROTECTION, ENCODING, RUNNING = "Protection", "Encoding", "Output and monitoring"


def protect(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The video to protect.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; its suffix names the container.")],
    pipeline: Annotated[
        str, typer.Option(help="A bundled pipeline's name or the path of a .yaml file.", rich_help_panel=PROTECTION)
    ] = "protect",
    engine: Annotated[
        str | None, typer.Option(help="The disrupter: see `engines list`.", rich_help_panel=PROTECTION)
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="What runs the networks: see `engines list`.", rich_help_panel=PROTECTION)
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="How strongly faces are perturbed; 1 as trained.", rich_help_panel=PROTECTION)
    ] = None,
    on_failure: Annotated[
        str | None,
        typer.Option(
            help="A face that can't be protected: block (show the last safe picture), black, pass or disconnect (end).",
            rich_help_panel=PROTECTION,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="STAGE.OPTION=VALUE", help="Any stage option.", rich_help_panel=PROTECTION),
    ] = None,
    hwaccel: Annotated[
        str | None,
        typer.Option(
            help="The device that decodes, and encodes where it can: none, auto, cuda, ...", rich_help_panel=ENCODING
        ),
    ] = None,
    codec: Annotated[
        str | None, typer.Option(help="Video encoder; the container's usual one.", rich_help_panel=ENCODING)
    ] = None,
    preset: Annotated[str | None, typer.Option(help="The encoder's preset.", rich_help_panel=ENCODING)] = None,
    crf: Annotated[
        float | None, typer.Option(help="Quality, lower is better; excludes --bitrate.", rich_help_panel=ENCODING)
    ] = None,
    bitrate: Annotated[
        str | None, typer.Option(metavar="BITS", help="Bits a second, such as 2M or 800k.", rich_help_panel=ENCODING)
    ] = None,
    gop: Annotated[
        int | None, typer.Option(help="Longest distance of key frames, in frames.", rich_help_panel=ENCODING)
    ] = None,
    all_video: Annotated[
        bool, typer.Option("--all-video", help="Protect every video stream of IN.", rich_help_panel=RUNNING)
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT if it exists.", rich_help_panel=RUNNING)
    ] = False,
    keep_partial: Annotated[
        bool, typer.Option("--keep-partial", help="A cut-off input is no error.", rich_help_panel=RUNNING)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON on stdout.", rich_help_panel=RUNNING)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no summary; warnings still.", rich_help_panel=RUNNING)
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Serve Prometheus metrics while running.", rich_help_panel=RUNNING),
    ] = None,
    metrics_address: Annotated[
        str, typer.Option(help="The address to serve metrics on.", rich_help_panel=RUNNING)
    ] = "127.0.0.1",
) -> ExitCode:
    """Protect the faces of a video.

    Finds every face, perturbs it so that face-editing networks fail on it, and encodes the result with the input's own
    timestamps, audio, subtitles and metadata. OUT appears only when it is whole.
    """
    from ..media import EncoderSettings
    from ..metrics import Metrics, serve
    from ..protect import protect_file

    encoder = EncoderSettings(codec=codec, preset=preset, crf=crf, bit_rate=bits_per_second(bitrate), gop=gop)
    config = _config(pipeline, _overrides(engine, backend, strength, on_failure, hwaccel, settings or []))
    metrics = Metrics()
    gc.collect()
    gc.freeze()  # what the imports left is here to stay: the collector need not walk it in the middle of a run
    with ExitStack() as stack:
        stop = stack.enter_context(stopping())
        if metrics_port is not None:
            server = stack.enter_context(closing(serve(metrics.registry, metrics_port, metrics_address)))
            if not quiet:
                say(f"metrics at http://{metrics_address}:{server.port}/metrics")
        report = protect_file(
            source,
            output,
            config,
            encoder=encoder,
            overwrite=overwrite,
            all_video=all_video,
            metrics=metrics,
            stop=stop,
            on_progress=stack.enter_context(reporting(quiet)),
        )
    return _conclude(report, output, keep_partial=keep_partial, as_json=as_json, quiet=quiet)


def _overrides(
    engine: str | None,
    backend: str | None,
    strength: float | None,
    on_failure: str | None,
    hwaccel: str | None,
    settings: list[str],
) -> list[Override]:
    """The options of the command line as overrides of the pipeline; --set comes last and wins."""
    from ..config import Override, parse_set

    named = (
        ("disrupt.engine", engine, "--engine"),
        ("*.backend", backend, "--backend"),
        ("disrupt.strength", strength, "--strength"),
        ("on_failure", on_failure, "--on-failure"),
        ("hwaccel", hwaccel, "--hwaccel"),
    )
    given = [Override(key, value, f"{option} {value}") for key, value, option in named if value is not None]
    return given + [parse_set(text) for text in settings]


def _config(pipeline: str, overrides: list[Override]) -> PipelineConfig:
    from ..config import load_pipeline
    from ..stages.registry import discover

    registry = discover()
    for problem in registry.problems:
        warn(problem)
    return load_pipeline(pipeline, overrides, registry)


def _conclude(report: RunReport, output: Path, *, keep_partial: bool, as_json: bool, quiet: bool) -> ExitCode:
    """Say what was done and what was not; a cut-off input is an error unless the user expected it."""
    partial = bool(report.truncation) and not keep_partial
    if not quiet:
        say(summary(report, output))
    for text in shortcomings(report):
        warn(text)
    if report.truncation:
        kept = f"what is there was protected and written to {output}"
        (say if partial else warn)(
            f"{'error: ' if partial else ''}{report.truncation}; {kept}"
            + ("; give --keep-partial if that is what you want" if partial else "")
        )
    if as_json:  # last: where stdout takes nothing, the user has been told of the output all the same
        emit_json({"output": output, **report.to_json()})
    return ExitCode.ERROR if partial else ExitCode.DONE


def summary(report: RunReport, output: Path) -> str:
    """A run in a line for a person."""
    return (
        f"{output}: {counted(report.frames_out, 'picture')}, "
        f"{report.protected_faces} of {counted(report.faces, 'face')} protected, "
        f"{counted(report.frames_without_face, 'picture')} without a face; {report.seconds:.1f} s, {report.fps:.1f} fps"
    )


def shortcomings(report: RunReport) -> list[str]:
    """Each thing that was not as it should be, in a sentence of its own."""
    found = list(report.warnings)
    if report.faces == 0:
        found.append("no face was found in any picture, so nothing was changed")
    for reason, count in report.unprotected_frames.items():
        found.append(
            f"{counted(count, 'picture')} left with an unprotected face ({reason}): --on-failure pass allows it"
        )
    for reason, count in report.blocked_frames.items():
        found.append(
            f"{counted(count, 'picture was', 'pictures were')} replaced (--on-failure {report.on_failure}): {reason}"
        )
    damage = (("corrupt_packets", "damaged packet"), ("corrupt_frames", "damaged picture"))
    damaged = [counted(report.source[key], words) for key, words in damage if report.source.get(key)]
    if damaged:
        found.append(f"the input has {' and '.join(damaged)}, concealed as the decoder does")
    return found + _odd_pictures(report) + _odd_packets(report)


def _odd_pictures(report: RunReport) -> list[str]:
    found = []
    if report.source.get("size_changes"):
        shapes = ", ".join(report.source.get("sizes", ()))
        found.append(
            f"the picture changed its size or format in mid-stream ({shapes}; "
            f"changes: {report.source['size_changes']}); all were fitted to the first size, so those of another shape "
            "may be distorted"
        )
    if report.source.get("pts_repaired"):
        found.append(
            counted(
                report.source["pts_repaired"],
                "picture had a time that was not after the one before; it follows it at once and is hardly seen",
                "pictures had a time that was not after the one before; they follow it at once and are hardly seen",
            )
        )
    return found


def _odd_packets(report: RunReport) -> list[str]:
    found = []
    if report.sink.get("dts_repaired"):
        found.append(
            counted(
                report.sink["dts_repaired"],
                "copied packet had a repeated time and was repaired",
                "copied packets had a repeated time and were repaired",
            )
        )
    if report.sink.get("sound_left_out_seconds"):
        found.append(
            f"{report.sink['sound_left_out_seconds']:.2f} s of sound before time zero are left out: the output's "
            "format holds no such times; .mp4 and .mov do"
        )
    if report.sink.get("packets_refused"):
        found.append(
            counted(
                report.sink["packets_refused"],
                "packet of sound, subtitles or data is left out: it has no time or is damaged",
                "packets of sound, subtitles or data are left out: they have no time or are damaged",
            )
        )
    return found
