"""One meaning for all samples of a stream: an encoder is told range and matrix once, a source may change its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import av
from av.video.reformatter import VideoReformatter

from .colour import FULL, LIMITED, untagged_code
from .device import to_host
from .formats import FULL_ONLY, FULL_RANGE, LIMITED_ONLY, is_gray, is_rgb
from .hwaccel import sample_format
from .info import VideoInfo
from .stand_in import copied
from .versions import reformat

BT601 = 6
BT470BG = 5
CONVERTED = frozenset({1, 4, 5, 7, 9})
"""Matrices that swscale turns into one another."""
_SAME = {BT601: BT470BG, 10: 9}
_UNTAGGED = (0, 2)
_KNOWN = CONVERTED.union(_SAME, _UNTAGGED)
_RANGES = {LIMITED: "limited", FULL: "full"}
_CURVES = {16: "PQ", 18: "HLG"}
_APART = "cut the input there and protect its parts one by one"


@dataclass(frozen=True, slots=True)
class Conversion:
    """Ranges (AVColorRange) and matrices (AVColorSpace) of a picture and of what is encoded; None where they agree."""

    ranges: tuple[int, int]
    matrices: tuple[int | None, int | None] = (None, None)

    @property
    def needed(self) -> bool:
        """Whether even samples of the right format and size mean something else."""
        return self.ranges[0] != self.ranges[1] or self.matrices[0] is not None


class Conformer:
    """What the encoded samples mean, by the first picture and as far as the encoder can say so.

    `warn` is told once of each kind of change in mid-stream.
    """

    def __init__(
        self, info: VideoInfo, encoder: str, pix_fmt: str, warn: Callable[[str], None], *, on_device: bool = False
    ) -> None:
        """`on_device`: pictures stay in a device's memory, where nothing is converted."""
        self._info = info
        self._pix_fmt = pix_fmt
        self._jpeg, self._limited = encoder in FULL_ONLY, encoder in LIMITED_ONLY
        self._recoded = is_rgb(info.pix_fmt) and not is_rgb(pix_fmt)
        self._on_device = on_device
        self._warn = warn
        self._told: set[str] = set()
        self._reformatter = VideoReformatter()
        self._last: tuple[tuple[str | int, ...], Conversion] | None = None

    @property
    def range(self) -> int:
        """The range to tag; 0 is untagged."""
        if self._jpeg:
            return FULL
        return LIMITED if self._recoded or (self._limited and self._own_range) else self._own_range

    @property
    def matrix(self) -> int:
        """The matrix to tag. Players take every JPEG for BT.601, and swscale makes that of RGB."""
        if self._recoded:
            return BT601
        own = self._info.colour.matrix
        return BT470BG if self._jpeg and own in CONVERTED else own

    def conform(self, picture: av.VideoFrame) -> av.VideoFrame:
        """The picture as the encoder takes it: itself, where it has the format, the size and the meaning already."""
        info, name, conversion = self._info, sample_format(picture), self._conversion(picture)
        same = (name, picture.width, picture.height) == (self._pix_fmt, info.width, info.height)
        if same and (self._on_device or not conversion.needed):
            return picture if self._on_device else to_host(picture)
        picture, (matrix, target) = to_host(picture), conversion.matrices
        if int(picture.colorspace) not in _KNOWN and not is_rgb(name) and not is_rgb(self._pix_fmt):
            matrix = target = BT470BG  # swscale refuses others, but need not know them to scale samples.
        if name in FULL_RANGE and conversion.ranges[0] == LIMITED:
            picture = copied(picture, FULL_RANGE[name])  # swscale goes by the name.
        return reformat(
            self._reformatter,
            picture,
            info.width,
            info.height,
            self._pix_fmt,
            matrix=matrix,
            to_matrix=target,
            ranges=conversion.ranges,
        )

    def look(self, picture: av.VideoFrame, seconds: float) -> None:
        """Say once what one stream cannot hold, or does only converted."""
        self._look_for_colours(picture, seconds)
        self._look_for_curves(picture, seconds)
        if picture.interlaced_frame and not self._info.interlaced:
            self._tell(
                "fields",
                f"the video is interlaced from {seconds:.3f} s on and was not at its start: it is stored as whole "
                f"frames, which players will not deinterlace: {_APART}",
            )

    def _conversion(self, picture: av.VideoFrame) -> Conversion:
        """From what the samples of this picture mean to what the encoded ones do."""
        key = sample_format(picture), picture.width, picture.height, int(picture.color_range), int(picture.colorspace)
        if self._last is None or self._last[0] != key:
            self._last = key, Conversion(self._ranges(picture), self._matrices(picture))
        return self._last[1]

    def _look_for_colours(self, picture: av.VideoFrame, seconds: float) -> None:
        names = sample_format(picture), self._info.pix_fmt
        here = self._range_of(picture) or LIMITED, self._matrix_of(picture)
        first = self._own_range or LIMITED, self._own_matrix
        if here == first or any(is_rgb(name) or is_gray(name) for name in names):
            return
        lost = self._on_device or not (here[1] == first[1] or {here[1], first[1]} <= CONVERTED)
        how = f"those pictures will look wrong: {_APART}" if lost else "those pictures are converted to the first"
        self._tell(
            "colours",
            f"the range or matrix of the colours changes at {seconds:.3f} s ({_meaning(*first)} before, "
            f"{_meaning(*here)} there); {how}",
        )

    def _look_for_curves(self, picture: av.VideoFrame, seconds: float) -> None:
        first, here = self._info.colour.transfer, int(picture.color_trc)
        was, now = _CURVES.get(first, "SDR"), _CURVES.get(here, "SDR")
        if was != now and here not in _UNTAGGED:
            self._tell(
                "curves",
                f"the video changes from {was} to {now} at {seconds:.3f} s: all of it is tagged {was}, so brightness "
                f"and colours will look wrong from there on: {_APART}",
            )

    def _tell(self, kind: str, words: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._warn(words)

    @property
    def _own_range(self) -> int:
        own, name = self._info.colour.range, self._info.pix_fmt
        return FULL if name in FULL_RANGE or (not own and is_gray(name)) else own

    @property
    def _own_matrix(self) -> int:
        own = self._info.colour.matrix
        own = untagged_code(self._info.height) if own in _UNTAGGED else own
        return _SAME.get(own, own)

    def _range_of(self, picture: av.VideoFrame) -> int:
        """A decoder may keep a format's name, such as yuvj420p, when the range changes: the tag is newer."""
        tag, info = int(picture.color_range), self._info
        stale = tag == LIMITED and not (info.pix_fmt in FULL_RANGE and info.colour.range == LIMITED)
        return FULL if sample_format(picture) in FULL_RANGE and not stale else tag or self._own_range

    def _matrix_of(self, picture: av.VideoFrame) -> int:
        """That of an untagged picture is what the first was; but players guess it anew where the size is another."""
        tag, info = int(picture.colorspace), self._info
        if tag not in _UNTAGGED:
            return _SAME.get(tag, tag)
        same = (picture.width, picture.height) == (info.width, info.height)
        return self._own_matrix if same else untagged_code(picture.height)

    def _ranges(self, picture: av.VideoFrame) -> tuple[int, int]:
        name = sample_format(picture)
        if is_gray(name) and not is_rgb(self._pix_fmt):
            # swscale takes gray for full range only; so brightness stays what it is, as it is tagged.
            return FULL, LIMITED if self._range_of(picture) == FULL and self.range == LIMITED else FULL
        source = FULL if is_rgb(name) else self._range_of(picture) or LIMITED
        return source, FULL if is_rgb(self._pix_fmt) else self.range or LIMITED

    def _matrices(self, picture: av.VideoFrame) -> tuple[int | None, int | None]:
        if is_rgb(sample_format(picture)) or is_rgb(self._pix_fmt) or is_gray(sample_format(picture)):
            return None, None
        target = self._own_matrix if self.matrix in _UNTAGGED else _SAME.get(self.matrix, self.matrix)
        source = self._matrix_of(picture)
        return (None, None) if source == target or not {source, target} <= CONVERTED else (source, target)


def _meaning(range: int, matrix: int) -> str:
    return f"{_RANGES[range]} range, matrix {matrix} of H.273"
