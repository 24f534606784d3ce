"""Runs an audit of files: opens them, chooses the sample, and puts the parts together."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ..errors import MediaError, UsageError
from ..media import Source, open_source, pixels
from ..media.measure import StreamSize, stream_size
from ..media.orientation import upright
from ..stages.base import Stage
from ..stages.registry import discover
from ..types import Face, Frame, Orientation, head_region
from ..wording import counted
from .examine import Examination, Purify, Version, with_faces
from .gallery import Gallery
from .pairing import Pairing, tolerance
from .probes import Probe
from .quality import Rgb
from .result import AuditResult, Clip, summarise
from .sizes import check_sizes, resampled, resampling_words

SAMPLES = 24


@dataclass(frozen=True)
class AuditOptions:
    """How an audit is made. `every` n takes each n-th paired frame to the generators; without it, about `samples`."""

    every: int | None = None
    samples: int = SAMPLES
    moments: int = 0
    """How many moments the report shows; 0 takes no pictures."""

    def __post_init__(self) -> None:
        for name, value in (("--every", self.every), ("--samples", self.samples)):
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}; it counts frames and must be 1 or more")


def audit(
    original: Path,
    protected: Path,
    probes: Sequence[Probe],
    *,
    reference: Path | None = None,
    options: AuditOptions | None = None,
    faces: Stage | None = None,
    purify: Purify | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AuditResult:
    """Measures the decoded `protected` against `original`, and against a plain transcode where one is given.

    Where the sizes differ, as those of a delivery ladder, the original is resampled to the size of `protected`.
    `faces` finds the faces on the original (the built-in stage by default). `purify` is what an attacker does to a
    protected head before a generator edits it: what disruption is left then is measured too. `progress` is told how
    many frames are done and about how many there are. Raises SourceError for a file that is not video, MediaError where
    no frame has a partner of its size.
    """
    options = options or AuditOptions()
    with ExitStack() as stack:
        paths = [path for path in (original, protected, reference) if path is not None]
        sources = [stack.enter_context(open_source(str(path))) for path in paths]
        check_sizes(sources)
        sizes = [stream_size(str(p), s.info.video.stream) for p, s in zip(paths, sources, strict=True)]
        total = min(size.packets for size in sizes)
        examination = Examination(
            probes,
            every=options.every or max(1, round(total / options.samples)),
            read=_whole,
            crop=_head,
            gallery=Gallery(options.moments, _shown, _head),
            reference=None if reference is None else Version(),
            purify=purify,
        )
        pairing = _pairing(sources, faces or discover().load("faces")(), stack)
        for versions in pairing:
            examination.add(*versions)
            progress(examination.frames, total)
        _check_paired(pairing, sources)
        clips = [_clip(*parts) for parts in zip(paths, sources, sizes, strict=True)]
        warnings = [source.truncation for source in sources if source.truncation]
        warnings += resampling_words(sources) + _resized(examination)
        return summarise(examination, pairing, probes, (clips[0], clips[1], clips[2] if reference else None), warnings)


def _pairing(sources: Sequence[Source], faces: Stage, stack: ExitStack) -> Pairing[Frame]:
    streams = [stack.enter_context(closing(_frames(source))) for source in sources]
    found = stack.enter_context(closing(with_faces(faces, streams[0])))
    rate = sources[0].info.video.average_rate
    limit = tolerance((s.info.video.time_base for s in sources), 1 / Fraction(rate) if rate else None)
    return Pairing(resampled(sources, found), streams[1:], limit)


def _frames(source: Source) -> Generator[Frame, None, None]:
    """The pictures of the protected stream alone."""
    for item in source.read():
        if isinstance(item, Frame) and item.stream == source.info.video.stream:
            yield item


def _whole(frame: Frame) -> Rgb:
    return _read(frame, lambda: pixels.whole_rgb(frame.picture))


def _shown(frame: Frame, orientation: Orientation) -> Rgb:
    return upright(_whole(frame), orientation)


def _head(frame: Frame, face: Face, orientation: Orientation, side: int) -> Rgb:
    region = head_region(face.box, orientation)
    return upright(_read(frame, lambda: pixels.read_rgb(frame.picture, region, side)), orientation)


def _read(frame: Frame, read: Callable[[], Rgb]) -> Rgb:
    try:
        return read()
    except ValueError as error:
        raise MediaError(f"the picture at {frame.time_seconds:.3f} s cannot be read for the audit: {error}") from error


def _check_paired(pairing: Pairing[Frame], sources: Sequence[Source]) -> None:
    if pairing.paired:
        return
    starts = ", ".join(
        f"{source.info.path} from {float(time):.3f} s" if time is not None else f"{source.info.path} has none"
        for source, time in zip(sources, pairing.first_times, strict=True)
    )
    raise MediaError(
        f"no frames could be paired by their timestamps ({starts}; counted: {pairing.unpaired}); give the original "
        "that the protected video was made from, with its timestamps as they were"
    )


def _resized(examination: Examination) -> list[str]:
    """A sentence on moments that were left out; MediaError where nothing else is left."""
    if not examination.resized:
        return []
    words = counted(
        examination.resized,
        "picture is of another size than its partner",
        "pictures are of another size than their partners",
    )
    if not examination.frames:
        raise MediaError(
            f"nothing could be compared: {words}; give the original that the protected video was made from"
        )
    return [f"{words} and were left out: the original changes its size in mid-stream"]


def _clip(path: Path, source: Source, size: StreamSize) -> Clip:
    video = source.info.video
    rate = f"{float(video.average_rate):.3g} frames/s" if video.average_rate else "variable rate"
    description = (
        f"{video.codec} {video.pix_fmt}, {video.width}x{video.height}, {rate}, {size.seconds:.1f} s, "
        f"video {size.bit_rate / 1000:.0f} kbit/s"
    )
    return Clip(path.name, description, size.bit_rate)
