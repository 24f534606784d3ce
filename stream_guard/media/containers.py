"""What each output container holds, as readable data. FFmpeg's own answer is asked too, where it has one."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError


@dataclass(frozen=True, slots=True)
class Container:
    """One output format. Times below zero, rotation and the like: whether the file can say so."""

    format: str
    suffixes: tuple[str, ...]
    video: str
    """The usual encoder."""
    audio: str | None
    """The encoder for audio that cannot be copied; None where the format holds no sound."""
    subtitle: str | None
    """The encoder for text subtitles that cannot be copied."""
    negative_times: bool = False
    reordering_delay: bool = True
    """Whether decoding times may lie before zero: else B-frames would move a video that starts at zero."""
    rotation: bool = False
    attachments: bool = False
    chapters: bool = False
    cover: bool = False
    """As a stream of its own; formats with attachments hold it as one of those."""
    tags: bool = True
    """Whether it holds a title and the like."""
    late_start: bool = True
    """Whether the first picture may come later than zero."""
    copies: frozenset[str] | None = None
    """Codecs that may be copied, where FFmpeg would write others that nothing can read back."""
    options: tuple[tuple[str, str], ...] = ()
    """Of the muxer."""


_TS = "mp2 mp3 aac aac_latm ac3 eac3 dts opus truehd s302m mpeg1video mpeg2video mpeg4 h264 hevc vvc"
_IN_ANY_TS = frozenset(_TS.split())
TS_COPIES = _IN_ANY_TS | {"dvb_subtitle", "dvb_teletext", "klv", "timed_id3"}
# The streams of Blu-ray discs and AVCHD cameras have numbers of their own; there are none for those of broadcasts.
M2TS_COPIES = _IN_ANY_TS | {"pcm_bluray", "hdmv_pgs_subtitle"}

CONTAINERS = (
    Container(
        "mp4", (".mp4",), "libx264", "aac", "mov_text", negative_times=True, rotation=True, chapters=True, cover=True
    ),
    Container(
        "ipod", (".m4v",), "libx264", "aac", "mov_text", negative_times=True, rotation=True, chapters=True, cover=True
    ),
    Container(
        "mov", (".mov",), "libx264", "aac", "mov_text", negative_times=True, rotation=True, chapters=True, cover=True
    ),
    Container("3gp", (".3gp",), "libx264", "aac", "mov_text", negative_times=True, rotation=True),
    Container("matroska", (".mkv",), "libx264", "aac", "subrip", rotation=True, attachments=True, chapters=True),
    Container("webm", (".webm",), "libvpx-vp9", "libopus", "webvtt", rotation=True, chapters=True),
    Container("mpegts", (".ts",), "libx264", "aac", None, reordering_delay=False, tags=False, copies=TS_COPIES),
    Container(
        "mpegts",
        (".m2ts", ".mts"),
        "libx264",
        "aac",
        None,
        reordering_delay=False,
        tags=False,
        copies=M2TS_COPIES,
        options=(("mpegts_m2ts_mode", "1"),),
    ),
    Container("flv", (".flv",), "libx264", "aac", None, reordering_delay=False),
    Container("gif", (".gif",), "gif", None, None, tags=False, late_start=False),
)


def container_for(path: str) -> Container:
    """The container that the file name's ending asks for; UsageError lists the known ones."""
    suffix = suffix_of(path).lower()
    for container in CONTAINERS:
        if suffix in container.suffixes:
            return container
    known = ", ".join(s for c in CONTAINERS for s in c.suffixes)
    raise UsageError(f"the output {path!r} ends in {suffix or 'nothing'!r}, which names no format; use one of: {known}")


def suffix_of(path: str) -> str:
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    dot = name.rfind(".")
    return name[dot:] if dot > 0 else ""
