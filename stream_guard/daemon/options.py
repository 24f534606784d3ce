"""Which of FFmpeg's options may be set from outside, and which of their values FFmpeg would not read.

Of a wrong value it says `Invalid argument` of the URL, at each attempt: here it is named once, when settings are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import ConfigError
from ..media.live import check_connects
from .urls import Purpose

SAFE_OPTIONS = frozenset(
    {
        "analyzeduration",
        "buffer_size",
        "fflags",
        "fifo_size",
        "flags",
        "flvflags",
        "hls_flags",
        "hls_list_size",
        "hls_segment_type",
        "hls_time",
        "latency",
        "live_start_index",
        "max_delay",
        "movflags",
        "mpegts_flags",
        "mpegts_original_network_id",
        "mpegts_service_id",
        "mpegts_start_pid",
        "mpegts_transport_stream_id",
        "muxdelay",
        "muxpreload",
        "overrun_nonfatal",
        "passphrase",
        "pbkeylen",
        "pkt_size",
        "probesize",
        "reconnect",
        "reconnect_delay_max",
        "reconnect_streamed",
        "reorder_queue_size",
        "rtmp_buffer",
        "rtmp_live",
        "rtsp_transport",
        "rw_timeout",
        "stimeout",
        "streamid",
        "thread_queue_size",
        "timeout",
        "tls_verify",
        "ttl",
        "user_agent",
    }
)
"""FFmpeg options that neither name a file, a host nor a protocol, nor make us listen: but RTMP's `timeout` would."""

NUMBERS = frozenset(
    {
        "analyzeduration",
        "buffer_size",
        "fifo_size",
        "latency",
        "live_start_index",
        "max_delay",
        "pbkeylen",
        "pkt_size",
        "probesize",
        "reconnect_delay_max",
        "reorder_queue_size",
        "rtmp_buffer",
        "rw_timeout",
        "stimeout",
        "thread_queue_size",
        "timeout",
        "ttl",
    }
)
"""Those of protocols and demuxers that are numbers."""
_NUMBER = re.compile(r"[+-]?(0x[0-9a-fA-F]+|[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?)([yzafpnumcdhkKMGTPEZY]i?)?B?")
"""As FFmpeg reads them, with SI prefixes (`5M`, `64Ki`); its arithmetic is left out."""

SWITCHES = frozenset({"overrun_nonfatal", "reconnect", "reconnect_streamed", "tls_verify"})
"""Those that are on or off."""
_SWITCH = re.compile(r"[01]|(?i:true|yes|y|on|enabled?|false|no|n|off|disabled?)")

FLAGS: Mapping[str, tuple[str, ...]] = {
    "fflags": (
        "autobsf",
        "bitexact",
        "discardcorrupt",
        "fastseek",
        "flush_packets",
        "genpts",
        "igndts",
        "ignidx",
        "nobuffer",
        "nofillin",
        "noparse",
        "sortdts",
    ),
    "rtsp_transport": ("http", "https", "tcp", "udp", "udp_multicast"),
}
"""Those that take some of these words, joined by + (or by -, to take one away)."""
_FLAGS = re.compile(r"[+-]?(\w+([+-]\w+)*)")


def check_options(options: Mapping[str, str], purpose: Purpose, url: str = "") -> dict[str, str]:
    """FFmpeg's options of `url` as they came, if all are harmless. Raises ConfigError naming the first that is not."""
    if purpose == "source":
        check_connects(url, options)
    for name, value in options.items():
        if name not in SAFE_OPTIONS:
            raise ConfigError(
                f"the {purpose} option {name!r} may not be set from outside; allowed: {', '.join(sorted(SAFE_OPTIONS))}"
            )
        if words := _unreadable(name, value):
            raise ConfigError(f"the {purpose} option {name} is {value!r}; {words}")
    return dict(options)


def _unreadable(name: str, value: str) -> str:
    """What is allowed, where FFmpeg would not read the value; empty where it would, or where the muxer is asked."""
    if name in NUMBERS and not _NUMBER.fullmatch(value):
        return "it takes a number (a time is in FFmpeg's unit, mostly microseconds: 5000000 is 5 s)"
    if name in SWITCHES and not _SWITCH.fullmatch(value):
        return "it is on or off: 1 or 0"
    if name in FLAGS and not _flags(value, FLAGS[name]):
        return f"it takes one of {', '.join(FLAGS[name])}, or several, joined by +"
    return ""


def _flags(value: str, known: tuple[str, ...]) -> bool:
    return bool(_FLAGS.fullmatch(value)) and all(
        word in known or word.isdecimal() for word in re.split("[+-]", value.lstrip("+-"))
    )
