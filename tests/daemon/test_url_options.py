"""Which of FFmpeg's options may be set from outside, and which values are refused before FFmpeg sees them."""

from __future__ import annotations

import pytest

from stream_guard.daemon.urls import NUMBERS, SAFE_OPTIONS, check_options
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


def test_rtmp_is_not_told_to_listen() -> None:
    """FFmpeg's RTMP takes `timeout` for how long to wait for somebody who calls."""
    for url in ("rtmp://127.0.0.1/live/x", "RTMPS://127.0.0.1/live/x"):
        with pytest.raises(ConfigError, match=r"'timeout' makes FFmpeg listen .* read_timeout and stall"):
            check_options({"timeout": "6"}, "source", url)
    for url in ("rtsp://127.0.0.1/x", "http://127.0.0.1/x.flv", "udp://127.0.0.1:5000"):
        assert check_options({"timeout": "6"}, "source", url) == {"timeout": "6"}
