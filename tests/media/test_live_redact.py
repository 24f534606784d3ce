"""No stream key, password or query in what people may see."""

from __future__ import annotations

import pytest

from stream_guard.media import redact, redact_text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtmp://host/live/secretkey", "rtmp://host/live/***"),
        ("rtmps://user:pass@host:443/app/inst/key?sign=1", "rtmps://host:443/app/***"),
        ("rtsp://admin:1234@10.0.0.5:554/stream1", "rtsp://10.0.0.5:554/***"),
        ("https://cdn.example/hls/key/index.m3u8?token=abc", "https://cdn.example/hls/***"),
        ("srt://host:8890?streamid=publish:path:user:pass&pkt_size=1316", "srt://host:8890/***"),
        ("udp://239.0.0.1:1234", "udp://239.0.0.1:1234"),
        ("udp://[::1]:1234", "udp://[::1]:1234"),
        ("rtmp://host:notaport/live/key", "***"),
        ("rtmp://[broken/live/key", "***"),
        ("rtmp://host/live/secretkey/", "rtmp://host/live/***"),
        ("/srv/video/out.mkv", "/srv/video/out.mkv"),
        ("FILE:///srv/video/out.mkv", "FILE:///srv/video/out.mkv"),
    ],
)
def test_a_url_keeps_host_and_application_only(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_a_foreign_message_loses_urls_and_what_was_secret_in_them() -> None:
    url = "rtmp://user:hunter22@host/live/secret%20key?sign=abcdef"
    text = f"Error opening {url}: server said secret key and abcdef and hunter22; see rtsp://other:pw@h/x/y"
    cleaned = redact_text(text, url)
    assert "rtmp://host/live/***" in cleaned
    assert "rtsp://h/x/***" in cleaned
    for secret in ("secret", "abcdef", "hunter22", "pw@"):
        assert secret not in cleaned


def test_plain_words_stay() -> None:
    assert redact_text("Connection refused", "rtmp://host/live/key") == "Connection refused"
