"""The demo: a clip that needs no file of the user's, protected and audited, in one folder to look at."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .audit.probes import load_probes
from .audit.report import report_file
from .audit.result import AuditResult
from .audit.run import AuditOptions, audit
from .config import PipelineConfig
from .errors import UsageError
from .media import EncoderSettings, transcode
from .media.synthesis import write_clip
from .outcome import RunReport
from .protect import protect_file
from .scratch import scratch_folder
from .talking_head import speech, talking_head

MARK = ".made-by-stream-guard-demo"
"""A file that says whose folder it is, so that a second demo may replace the first and nothing else."""
SECONDS, RATE = 6.0, 25
SIZE = (960, 540)
MOMENTS = 6


@dataclass(frozen=True)
class DemoFiles:
    """Where everything lies."""

    folder: Path

    @property
    def original(self) -> Path:
        return self.folder / "original.mp4"

    @property
    def protected(self) -> Path:
        return self.folder / "protected.mp4"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def figures(self) -> Path:
        return self.folder / "audit.json"


def make_demo(
    folder: Path,
    config: PipelineConfig,
    *,
    seconds: float = SECONDS,
    size: tuple[int, int] = SIZE,
    encoder: EncoderSettings | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[RunReport, AuditResult]:
    """Draws, protects and audits a talking head; `say` is told in words what is under way.

    `size` is (width, height), both even. Raises UsageError for a folder that holds anything but an earlier demo, and
    what `protect_file` and `audit` raise.
    """
    files = claim(folder)
    encoder = encoder or EncoderSettings()
    width, height = size
    say(f"drawing a talking head of {seconds:g} s from the astronaut portrait")
    pictures = talking_head(width, height, seconds, RATE)
    write_clip(files.original, pictures, width=width, height=height, rate=RATE, loudness=speech)
    say("protecting it")
    report = protect_file(files.original, files.protected, config, encoder=encoder, overwrite=True)
    say("auditing it: what does a face editor make of it before and after?")
    return report, _audited(files, encoder)


def _audited(files: DemoFiles, encoder: EncoderSettings) -> AuditResult:
    with scratch_folder() as scratch:
        plain = scratch / "plain.mp4"
        transcode(str(files.original), str(plain), encoder)
        probes = load_probes()
        try:
            with report_file(files.report, overwrite=True) as write:
                options = AuditOptions(moments=MOMENTS)
                result = audit(files.original, files.protected, probes, reference=plain, options=options)
                write(result)
        finally:
            for probe in probes:
                probe.close()
    files.figures.write_text(json.dumps(result.summary, indent=2) + "\n", encoding="utf-8")
    return result


def claim(folder: Path) -> DemoFiles:
    """The folder made ours: a new one, an empty one, or that of an earlier demo."""
    mark = folder / MARK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not mark.exists() and any(folder.iterdir()):
            raise UsageError(f"the folder {folder} holds files that no demo made; name a new one with --output")
        mark.touch()
    except OSError as error:
        raise UsageError(f"cannot use the folder {folder}: {error.strerror or error}; name another one") from error
    return DemoFiles(folder)
