"""Which sizes can be compared: a rendition of a delivery ladder shows the original's pictures with fewer pixels."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path

from ..errors import UsageError
from ..media import Source, open_source
from ..media.info import VideoInfo
from ..media.rescaling import Rescaler
from ..types import Frame

ROUNDING = 0.02
"""By so much the shown shapes may differ: renditions are rounded to whole blocks (854x480, 256x144)."""

Resample = Callable[[Iterable[Frame]], Generator[Frame, None, None]]


def check_reference_can_be_made(original: Path, protected: Path) -> None:
    """Raises UsageError where a plain transcode, which has the size of the original, says nothing of `protected`."""
    with open_source(str(original)) as one, open_source(str(protected)) as other:
        if _size(one) != _size(other):
            raise UsageError(
                f"{_said(one)} and {_said(other)}: --make-reference encodes at the original's size; make an "
                "unprotected rendition as the protected one was made and give it with --reference, or leave it out"
            )


def check_sizes(sources: Sequence[Source]) -> None:
    """Raises UsageError where the pictures of the original and of the others are not the same but for their size."""
    original, protected, *references = sources
    for reference in references:
        if _size(reference) != _size(protected):
            raise UsageError(
                f"{_said(protected)} and {_said(reference)}: a reference is encoded as the protected video was, "
                "to the same size"
            )
    if _size(original) == _size(protected):
        return
    ratio = _shape(protected.info.video) / _shape(original.info.video)
    if not 1 - ROUNDING <= ratio <= 1 + ROUNDING:
        raise UsageError(
            f"{_said(original)} and {_said(protected)}, which is another shape; an audit compares the same pictures: "
            "give the original that the protected video was made from, and a rendition that is not cropped, padded "
            "or turned"
        )


def resampled(sources: Sequence[Source], frames: Iterable[Frame]) -> Generator[Frame, None, None]:
    """The original's frames at the size of the protected video; those of a later size, in mid-stream, as they are."""
    was, wanted = _size(sources[0]), _size(sources[1])
    resample = Rescaler(*wanted)
    for frame in frames:
        yield resample(frame) if wanted != was == (frame.width, frame.height) else frame


def resampling_words(sources: Sequence[Source]) -> list[str]:
    """A sentence on the original that was resampled; none where it was not."""
    original, protected = sources[:2]
    if _size(original) == _size(protected):
        return []
    words = f"{_said(original)} and was resampled (bicubic) to the size of the protected video, {_pixels(protected)}"
    loss = "what the delivery lost by its own resampling is part of all figures"
    return [
        f"{words}: {loss}" + ("" if len(sources) > 2 else "; --reference with an unprotected rendition parts the two")
    ]


def _size(source: Source) -> tuple[int, int]:
    return source.info.video.width, source.info.video.height


def _shape(video: VideoInfo) -> float:
    """Width by height as shown, before it is turned."""
    return video.width / video.height * float(video.sample_aspect_ratio or 1)


def _pixels(source: Source) -> str:
    return "{}x{}".format(*_size(source))


def _said(source: Source) -> str:
    return f"{source.info.path} is {_pixels(source)}"
