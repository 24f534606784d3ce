"""Which pixel format an encoder gets: the source's own where it can, else the nearest, and what is lost then."""

from __future__ import annotations

import re

from av.codec import Codec
from av.codec.codec import find_best_pix_fmt_of_list
from av.video.format import VideoFormat

from ..errors import ConfigError, UnknownNameError
from .versions import PixFmtLoss

# Formats that name the full range in themselves: the same planes as their plain sisters.
FULL_RANGE = {"yuvj420p": "yuv420p", "yuvj422p": "yuv422p", "yuvj444p": "yuv444p", "yuvj440p": "yuv440p"}

FULL_ONLY = frozenset({"mjpeg"})
"""Encoders that know nothing but the full range: JPEG has no other."""
LIMITED_ONLY = frozenset({"mpeg4", "prores_ks"})
"""Encoders that cannot say which range it is, so that players take it for the limited one."""
_GRAY = re.compile(r"(?P<kind>gray|ya)(?P<deep>1\d(le|be))?8?")
_TWINS = {plain: full for full, plain in FULL_RANGE.items()}

_WORDS = {
    PixFmtLoss.RESOLUTION: "colour resolution",
    PixFmtLoss.CHROMA: "colour",
    PixFmtLoss.DEPTH: "bit depth",
    PixFmtLoss.COLORSPACE: "the colour space (converted)",
    PixFmtLoss.ALPHA: "transparency",
    PixFmtLoss.COLORQUANT: "colours (palette)",
}


def choose_format(
    encoder: str,
    source: str,
    width: int,
    height: int,
    wanted: str | None = None,
    *,
    opaque: bool = False,
    container: str = "",
) -> tuple[str, str]:
    """The pixel format for `encoder` and a sentence on what is lost (empty: nothing).

    `opaque`: the source's alpha channel hides nothing at its start, so that it is no loss yet where the encoder has
    none. `container` by FFmpeg's name: without one, no encoder's transparency is believed to get lost in it. Formats
    that cannot hold an odd width or height are not considered. Raises ConfigError where none is left.
    """
    offered = [name for name in formats_of(encoder) if _held(encoder, name, container)]
    fitting = [name for name in offered if _fits(encoder, name, width, height)]
    if wanted is not None:
        if wanted not in offered:
            raise UnknownNameError(f"pixel format of {encoder}", wanted, offered)
        if wanted not in fitting:
            raise ConfigError(f"{encoder} cannot encode {wanted} at an odd size ({width}x{height}); leave it out")
        fitting = [wanted]
    elif encoder in FULL_ONLY:
        source, fitting = _TWINS.get(source, source), [name for name in fitting if name in FULL_RANGE]
    if source in fitting:
        return source, ""
    if not fitting:
        raise ConfigError(f"{encoder} cannot encode a picture of {width}x{height}; choose another codec")
    # Full-range twins are no choice for others: they would change the range, not only the layout.
    candidates = {name: name for name in fitting if name not in FULL_RANGE or name == wanted}
    candidates = candidates or {FULL_RANGE[name]: name for name in fitting}
    plain = FULL_RANGE.get(source, source)
    if is_gray(source) and not any(is_gray(name) for name in fitting):
        plain = _coloured(source)
    best, loss = find_best_pix_fmt_of_list(list(candidates), plain, has_alpha=has_alpha(plain))
    if opaque:
        plainer, least = find_best_pix_fmt_of_list(list(candidates), plain, has_alpha=False)
        best, loss = (best, loss) if loss == least else (plainer, least)  # kept where that costs nothing else
    if best is None:
        raise ConfigError(f"{encoder} takes none of the pixel formats that {source} can be turned into")
    who = f"{encoder} in {container}" if source in formats_of(encoder) and source not in offered else encoder
    chosen = candidates[best.name]
    if wanted is not None:
        return chosen, _sentence_as_asked(source, chosen, loss)
    return chosen, _sentence(who, source, chosen, loss, source in offered and source not in fitting)


def formats_of(encoder: str) -> list[str]:
    return [f.name for f in Codec(encoder, "w").video_formats or ()]


def depth_of(name: str) -> int:
    return max(c.bits for c in VideoFormat(name, 16, 16).components)


def is_rgb(name: str) -> bool:
    found = VideoFormat(name, 16, 16)
    return bool(found.is_rgb or found.has_palette)


def is_gray(name: str) -> bool:
    """Whether there is brightness alone. Untagged, it is of full range; swscale knows it as nothing else."""
    return _GRAY.fullmatch(name) is not None


def _coloured(gray: str) -> str:
    """The format that holds it with the fewest colour samples: FFmpeg itself would take RGB for as good."""
    found = _GRAY.fullmatch(gray)
    kind, deep = (found["kind"], found["deep"]) if found else ("gray", None)
    return f"yuv{'a' if kind == 'ya' else ''}420p{deep or ''}"


def subsampling(name: str) -> tuple[int, int]:
    """How many pixels across and down share one colour sample; (1, 1) also where there are none."""
    found = VideoFormat(name, 64, 64)
    return (
        64 // found.chroma_width() if found.chroma_width() else 1,
        64 // found.chroma_height() if found.chroma_height() else 1,
    )


def _fits(encoder: str, name: str, width: int, height: int) -> bool:
    """x264 and x265 refuse sizes that their chroma does not divide; the others round it up."""
    if not encoder.startswith(("libx264", "libx265")):
        return True
    x, y = subsampling(name)
    return width % x == 0 and height % y == 0


def _held(encoder: str, name: str, container: str) -> bool:
    """VP9's transparency is for 4:2:0 alone, and travels beside the packets, which only Matroska writes.

    FFmpeg's list for x265 has it too, but usual builds of x265 do not open with it.
    """
    if encoder == "libx265":
        return not has_alpha(name)
    if not encoder.startswith("libvpx") or not has_alpha(name):
        return True
    return name == "yuva420p" and container in ("", "matroska", "webm")


def has_alpha(name: str) -> bool:
    found = VideoFormat(name, 16, 16)
    return bool(found.has_palette or any(c.is_alpha for c in found.components))


def _lost(loss: int) -> str:
    return " and ".join(word for flag, word in _WORDS.items() if loss & flag)


def _sentence_as_asked(source: str, chosen: str, loss: int) -> str:
    return f"{source} is encoded as {chosen}, which loses {lost}" if (lost := _lost(loss)) else ""


def _sentence(encoder: str, source: str, chosen: str, loss: int, odd: bool) -> str:
    if odd:
        return (
            f"{encoder} cannot encode {source} at an odd size, so the colour is stored in {chosen}, which some players "
            "do not show; --codec libvpx-vp9 keeps it as it is"
        )
    lost = _lost(loss)
    return f"{encoder} does not take {source}; the nearest, {chosen}, loses {lost}" if lost else ""
