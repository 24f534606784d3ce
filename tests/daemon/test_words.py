"""What is shown of URLs, how messages travel, how events are kept."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.daemon.protocol import Lines, ProtocolError, encode, unpack
from stream_guard.daemon.redaction import redacted, scrubbed
from stream_guard.daemon.ring import Ring


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtmp://user:pass@host:1935/app/key?token=1", "rtmp://host:1935/app/..."),
        ("rtmp://host/app/key", "rtmp://host/app/..."),
        ("rtmp://host/app/SECRETKEY/", "rtmp://host/app/..."),
        ("rtmp://host/app/SECRETKEY/1", "rtmp://host/app/..."),
        ("rtmp://host/SECRETKEY/", "rtmp://host/..."),
        ("https://host/live/TOKEN/index.m3u8?a=b", "https://host/live/..."),
        ("https://host/live/...", "https://host/live/..."),
        ("https://host/", "https://host/"),
        ("srt://host:9000?streamid=publish:secret", "srt://host:9000?..."),
        ("udp://239.0.0.1:1234", "udp://239.0.0.1:1234"),
        ("file:///srv/in.mp4", "file:///srv/in.mp4"),
        ("/srv/in.mp4", "/srv/in.mp4"),
        ("what is this", "..."),
    ],
)
def test_urls_are_shown_without_their_secrets(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_words_of_others_are_scrubbed() -> None:
    source = "rtmp://user:pass1234@host/live/secretkey?token=abcd"
    words = f"cannot open {source}: stream 'secretkey' refused pass1234"
    assert scrubbed(words, [source]) == "cannot open rtmp://host/live/...: stream '...' refused ..."


@pytest.mark.parametrize(
    "source", ["rtmp://h/app/SECRETKEY/1", "rtmp://h/app/SECRETKEY/", "rtsp://h/app/SECRET%4bEY/x"]
)
def test_a_key_in_the_midst_of_a_path_is_scrubbed(source: str) -> None:
    shown = scrubbed(f"lost {source}: the stream SECRETKEY is gone", [source])
    assert shown.endswith("h/app/...: the stream ... is gone")
    assert "SECRET" not in scrubbed(f"lost {source}: why?")


def test_the_punctuation_behind_a_url_stays() -> None:
    assert scrubbed("lost 'rtmp://h/live/secret': no data") == "lost 'rtmp://h/live/...': no data"
    assert (
        scrubbed("lost rtmp://h/live/...: no data (rtmp://h/a/key)")
        == "lost rtmp://h/live/...: no data (rtmp://h/a/...)"
    )


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text()), max_size=5), st.integers(1, 7))
def test_messages_arrive_whole_however_they_are_cut(messages: list[dict[str, int | str]], size: int) -> None:
    sent = [{**message, "type": "x"} for message in messages]
    data = b"".join(encode(message) for message in sent)
    lines = Lines()
    got = [message for start in range(0, len(data), size) for message in lines.feed(data[start : start + size])]
    assert got == sent


@pytest.mark.parametrize("line", [b"hello\n", b"[]\n", b"{}\n", b'{"type": 5}\n', b"\xff\n", b"[" * 100000 + b"\n"])
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        Lines().feed(line)


def test_a_line_without_an_end_is_refused() -> None:
    lines = Lines(longest=100)
    lines.feed(b"x" * 90)
    with pytest.raises(ProtocolError, match="more than 100 bytes"):
        lines.feed(b"x" * 20)


@pytest.mark.parametrize("data", [None, 5, [5], [["a", "b", "c", [["n", {}, "x"]]]], [["a", "b", "c", [["n", 5, 1]]]]])
def test_metrics_in_another_form_are_refused(data: object) -> None:
    with pytest.raises(ProtocolError):
        unpack(data)


def test_events_are_numbered_and_kept_in_order() -> None:
    ring = Ring(kept=3)
    for number in range(5):
        ring.publish("phase", f"m{number}", stream="a" if number % 2 else "b")
    ring.close()
    found = [event for event in ring.read() if event]
    first = found[0].id
    assert [(event.id - first, event.message) for event in found] == [(0, "m2"), (1, "m3"), (2, "m4")]
    assert [event.message for event in ring.read(since=first + 1) if event] == ["m4"]
    assert [event.message for event in ring.read(stream="a") if event] == ["m3"]


def test_a_reader_waits_and_sees_silence_and_the_end() -> None:
    ring = Ring()
    reader = ring.read(silence=0.01)
    assert next(reader) is None
    threading.Timer(0.05, ring.publish, ("phase", "late")).start()
    found = next(event for event in reader if event is not None)
    assert found.message == "late"
    ring.close()
    assert list(reader) == []
