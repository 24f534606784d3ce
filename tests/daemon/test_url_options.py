"""Which of FFmpeg's options may be set from outside, and which values are refused before FFmpeg sees them."""

from __future__ import annotations

import errno
import socket

import av
import pytest

from stream_guard.daemon.options import FLAGS, NUMBERS, SAFE_OPTIONS, SWITCHES, check_options
from stream_guard.errors import ConfigError


def test_options_that_lead_elsewhere_are_refused() -> None:
    assert check_options({"rtsp_transport": "tcp"}, "source") == {"rtsp_transport": "tcp"}
    for name in ("protocol_whitelist", "http_proxy", "listen", "hls_segment_filename", "hls_key_info_file", "headers"):
        assert name not in SAFE_OPTIONS
        with pytest.raises(ConfigError, match=f"'{name}' may not be set"):
            check_options({name: "x"}, "output")


def test_a_number_that_ffmpeg_would_not_read_is_refused() -> None:
    for value in ("5s", "five", "", "5 000", "1,5", "5Mb"):
        with pytest.raises(ConfigError, match=rf"the source option rw_timeout is '{value}'; it takes a number"):
            check_options({"rw_timeout": value}, "source")
    for value in ("5000000", "5M", "64Ki", "1e6", "-1", "0x10", "1.5", "5MB"):
        assert check_options({"probesize": value}, "source") == {"probesize": value}
    assert NUMBERS <= SAFE_OPTIONS


def test_a_word_that_ffmpeg_does_not_know_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"option rtsp_transport is 'tpc'; it takes one of http, https, tcp, udp, udp_"
    ):
        check_options({"rtsp_transport": "tpc"}, "source")
    with pytest.raises(ConfigError, match=r"option reconnect is 'ture'; it is on or off: 1 or 0"):
        check_options({"reconnect": "ture"}, "source")
    assert SWITCHES | set(FLAGS) <= SAFE_OPTIONS


VALUES = {
    "reconnect": ("1", "0", "true", "YES", "On", "disabled", "auto", "2", "-1", "yess", "1.0"),
    "rtsp_transport": ("tcp", "udp+tcp", "+tcp", "-udp+tcp", "1", *FLAGS["rtsp_transport"], "tpc", "tcp+", "tcp|udp"),
    "fflags": ("nobuffer", "nobuffer+genpts", "+nobuffer", "0", *FLAGS["fflags"], "nobufer", "latm", "no+buffer"),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in VALUES.items() for value in values])
def test_what_is_refused_is_what_ffmpeg_would_not_read(name: str, value: str) -> None:
    """Nobody answers at the port, which is all that it says where it has read the option."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    scheme = "rtsp" if name == "rtsp_transport" else "http"
    with pytest.raises(av.FFmpegError) as told:
        av.open(f"{scheme}://127.0.0.1:{port}/x", options={name: value}, timeout=5)
    try:
        check_options({name: value}, "source")
    except ConfigError:
        assert told.value.errno == errno.EINVAL
    else:
        assert told.value.errno != errno.EINVAL


def test_rtmp_is_not_told_to_listen() -> None:
    """FFmpeg's RTMP takes `timeout` for how long to wait for somebody who calls."""
    for url in ("rtmp://127.0.0.1/live/x", "RTMPS://127.0.0.1/live/x"):
        with pytest.raises(ConfigError, match=r"'timeout' makes FFmpeg listen .* read_timeout and stall"):
            check_options({"timeout": "6"}, "source", url)
    for url in ("rtsp://127.0.0.1/x", "http://127.0.0.1/x.flv", "udp://127.0.0.1:5000"):
        assert check_options({"timeout": "6"}, "source", url) == {"timeout": "6"}
