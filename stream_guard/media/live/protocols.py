"""What each scheme needs, in and out, as readable data. Times in FFmpeg's options are microseconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urlsplit

from ...errors import ConfigError, UsageError
from .redact import is_path, redact

OPEN, READ = "{open}", "{read}"
"""Stand for the time limits in microseconds."""

Options = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Incoming:
    """How sources of some schemes are opened. `protocols` and `formats` are all that they may lead to."""

    schemes: tuple[str, ...]
    protocols: str
    formats: str
    options: Options = ()
    probe_seconds: float = 2.0
    """How much is read to find the streams; formats that announce theirs take less."""
    refuses: str = ""
    """What it means when the server forbids it or says nothing; empty where FFmpeg's words are plain enough."""
    listens: tuple[str, ...] = ()
    """Options with which FFmpeg would not connect but wait to be called."""


# FFmpeg's `nobuffer` is left out on purpose: it throws away what was read while probing, and with it the key frame
# that decoding starts at. What piles up meanwhile is dropped by whoever bounds the delay.
# `timeout` of rtmp is how long to listen for a caller; its limit is `rw_timeout`.
# FLV says its frame rate; counting pictures for it would cost seconds.
_RTMP = (("rw_timeout", READ), ("rtmp_live", "live"), ("fpsprobesize", "0"))
_ABSENT = "nobody publishes there yet, or the server does not let us play it"
_LISTENS = ("timeout", "listen", "rtmp_listen")
_SEGMENTS = "hls,mpegts,mov,mp4,aac,mp3,ac3,eac3,webvtt"
INCOMING = (
    Incoming(("rtmp",), "rtmp,tcp", "flv,live_flv", _RTMP, refuses=_ABSENT, listens=_LISTENS),
    Incoming(("rtmps",), "rtmps,httpproxy,tls,tcp", "flv,live_flv", _RTMP, refuses=_ABSENT, listens=_LISTENS),
    Incoming(("rtsp",), "rtp,tcp,udp", "rtsp", (("timeout", READ), ("rtsp_transport", "tcp")), 1.0),
    Incoming(("rtsps",), "rtp,srtp,tls,tcp,udp", "rtsp", (("timeout", READ), ("rtsp_transport", "tcp")), 1.0),
    Incoming(
        ("http", "https"),
        "http,https,httpproxy,tls,tcp,crypto",
        f"flv,live_flv,{_SEGMENTS}",
        (("rw_timeout", READ), ("live_start_index", "-1"), ("http_persistent", "0"), ("max_redirects", "3")),
    ),
    Incoming(("udp",), "udp", "mpegts", (("timeout", READ), ("fifo_size", "50000"), ("overrun_nonfatal", "1"))),
    Incoming(("tcp",), "tcp", "mpegts,flv,live_flv", (("timeout", READ),)),
)
FILE = Incoming(
    ("file",), "file,crypto", f"flv,live_flv,matroska,webm,avi,nut,{_SEGMENTS}", (("live_start_index", "0"),)
)
BRIDGED = Incoming((), "pipe", "mpegts")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """How outputs of some schemes are written: `wire` are options of the protocol, `muxer` of the format."""

    schemes: tuple[str, ...]
    format: str
    wire: Options = ()


OUTGOING = (
    Outgoing(("rtmp", "rtmps"), "flv", (("rtmp_live", "live"),)),
    Outgoing(("udp",), "mpegts", (("pkt_size", "1316"),)),
    Outgoing(("tcp",), "mpegts"),
    Outgoing(("srt", "rist"), "mpegts"),
)

MUXERS: dict[str, Options] = {
    "flv": (("flvflags", "no_duration_filesize"),),
    "mpegts": (("mpegts_flags", "resend_headers"),),
    "hls": (
        ("hls_time", "2"),
        ("hls_list_size", "6"),
        ("hls_flags", "delete_segments+independent_segments+program_date_time+temp_file"),
    ),
    "mp4": (("movflags", "frag_keyframe+empty_moov+default_base_moof"),),
    "mov": (("movflags", "frag_keyframe+empty_moov+default_base_moof"),),
    "matroska": (("live", "0"), ("cluster_time_limit", "1000")),
}
"""What a muxer gets when it writes live: nothing that a crash would make unreadable, nothing that waits."""


def scheme_of(url: str) -> str:
    """In small letters; `file` for paths."""
    return "file" if is_path(url) else urlsplit(url).scheme.lower()


def file_path(url: str) -> str:
    """The path of `file:///a%20b`, `file://localhost/a` or `file:/a`; a path stays as it is. Raises ConfigError."""
    if url[:5].lower() != "file:":
        return url
    rest = url[5:]
    if rest.startswith("//"):
        host, slash, tail = rest[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            raise ConfigError("a file URL names no host: write file:///PATH")
        rest = slash + tail
    return unquote_to_bytes(rest).decode("utf-8", "surrogateescape")


def incoming(url: str, *, allow_files: bool) -> Incoming | None:
    """The rule for this source, or None for a scheme that only a system ffmpeg may know. UsageError for files."""
    if is_path(url):
        if not allow_files:
            raise UsageError(f"the live source {url!r} is a file; give a URL such as rtmp://host/app/key")
        return FILE
    return next((rule for rule in INCOMING if scheme_of(url) in rule.schemes), None)


def check_connects(url: str, options: Iterable[str]) -> None:
    """Raises ConfigError for the name of an option with which the source would be waited for, not connected to."""
    rule = incoming(url, allow_files=True)
    for name in options:
        if rule is not None and name in rule.listens:
            raise ConfigError(
                f"the source option {name!r} makes FFmpeg listen for a caller where the source is {scheme_of(url)}; we "
                "only connect: take it out, open_timeout, read_timeout and stall say in seconds how long to wait"
            )


def outgoing(url: str) -> Outgoing | None:
    """The rule for this output; None for a path. UsageError, listing what is known, for other schemes."""
    if is_path(url):
        return None
    scheme = scheme_of(url)
    for rule in OUTGOING:
        if scheme in rule.schemes:
            return rule
    known = ", ".join(sorted(s for rule in OUTGOING for s in rule.schemes))
    raise UsageError(f"the output {redact(url)} has the scheme {scheme!r}; give a path or one of: {known}")
