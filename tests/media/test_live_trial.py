"""Options of an output whose value no muxer takes are named when the settings are read, not tried for ever."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stream_guard.errors import ConfigError
from stream_guard.media.live import LiveOutput, check_places
from stream_guard.media.live.trial import refused

PLACES = {
    "hls": "/v/x.m3u8",
    "flv": "rtmp://127.0.0.1/live/secret",
    "mpegts": "udp://127.0.0.1:9000",
    "mp4": "/v/x.mp4",
}


@pytest.mark.parametrize(
    ("format", "name", "value"),
    [
        ("hls", "hls_time", "two"),
        ("hls", "hls_list_size", "-2"),
        ("hls", "hls_segment_type", "fmp5"),
        ("hls", "hls_flags", "delete_segment"),
        ("flv", "flvflags", "no_metadat"),
        ("mpegts", "mpegts_service_id", "70000"),
        ("mpegts", "muxrate", "fast"),
        ("mp4", "movflags", "frag_keyfram"),
    ],
)
def test_a_value_that_the_muxer_does_not_take_is_named(format: str, name: str, value: str) -> None:
    output = LiveOutput(PLACES[format], options=(("fflags", "+bitexact"), (name, value)))
    words = rf"has {name}: '{re.escape(value)}', a value that FFmpeg's muxer {format} does not take"
    with pytest.raises(ConfigError, match=words) as said:
        check_places([output], "")
    assert "secret" not in str(said.value)


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("hls", {"hls_time": "1.5", "hls_flags": "delete_segments+temp_file", "hls_segment_type": "fmp4"}),
        ("flv", {"flvflags": "no_duration_filesize"}),
        ("mpegts", {"muxrate": "2M", "mpegts_flags": "resend_headers"}),
        ("mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("matroska", {"cluster_time_limit": "500"}),
        ("wav", {"rf64": "auto"}),
    ],
)
def test_values_that_it_takes_leave_no_file(
    format: str, options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(format, options) is None
    assert list(tmp_path.iterdir()) == []
