"""What begins in mid-stream and cannot be carried is said, with the time at which it begins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_guard.media import EncoderSettings, losses, transcode
from stream_guard.media.losses import Latecomers
from tests.support import media

WIDE_FORMAT = b"\xb5\x00\x31DTG1\x41\xfa"
"""An active format description by ATSC A/53, as user data that is registered by ITU-T T.35."""


def with_format(data: bytes, first: int) -> Iterator[bytes]:
    """H.264 with that description before each picture from the one of number `first` on."""
    sei = b"\x00\x00\x00\x01\x06\x04" + bytes([len(WIDE_FORMAT)]) + WIDE_FORMAT + b"\x80"
    count = 0
    for unit in data.replace(b"\x00\x00\x00\x01", b"\x00\x00\x01").split(b"\x00\x00\x01")[1:]:
        if unit[0] & 31 in (1, 5):
            yield sei if count >= first else b""
            count += 1
        yield b"\x00\x00\x00\x01" + unit


@pytest.mark.parametrize(("first", "when"), [(0, ""), (3, " (from 0.120 s on)")])
def test_a_format_that_is_said_from_the_middle_on_is_named_once(first: int, when: str, tmp_path: Path) -> None:
    clip = media.Clip(frames=6, audio=(), options={"bf": "0", "x264-params": "repeat-headers=1"})
    source = tmp_path / "in.h264"
    source.write_bytes(b"".join(with_format(media.write(tmp_path / "plain.h264", clip).read_bytes(), first)))
    (warning,) = transcode(str(source), str(tmp_path / "out.mp4"), EncoderSettings(threads=1))[1].warnings
    assert warning.endswith(f"(active format description) cannot be written here{when}")


@pytest.mark.parametrize(
    ("kinds", "encoder", "words"),
    [
        ({"DYNAMIC_HDR_PLUS"}, "libx265", ["HDR metadata that changes over time (DYNAMIC_HDR_PLUS)"]),
        ({"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"}, "libx265", ["the HDR mastering metadata begin later"]),
        ({"ICC_PROFILE", "AFD"}, "mjpeg", ["what part of the picture counts"]),
        ({"SEI_UNREGISTERED", "A53_CC"}, "libx264", []),
        ({"DISPLAYMATRIX"}, "libx264", []),
    ],
)
def test_each_kind_that_comes_later_is_told_once(
    kinds: set[str], encoder: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, found = media.picture(0, (64, 64)), set[str]()
    monkeypatch.setattr(losses, "kinds", lambda picture: found)
    late = Latecomers(picture, encoder)
    assert late.look(picture, 0.0) == []
    found = kinds
    told = late.look(picture, 1.5)
    assert [w for w in told if w.endswith(" (from 1.500 s on)")] == told
    assert [any(w.startswith(begin) for w in told) for begin in words] == [True] * len(told)
    assert late.look(picture, 2.0) == []


def test_a_turn_in_mid_stream_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    upright, turned = media.picture(0, (64, 64)), media.picture(1, (64, 64))
    monkeypatch.setattr(losses, "kinds", lambda picture: {"DISPLAYMATRIX"} if picture is turned else set())
    monkeypatch.setattr(losses, "orientation_of", lambda picture: "turned")
    late = Latecomers(upright, "libx264")
    (warning,) = [*late.look(upright, 0.0), *late.look(turned, 0.5), *late.look(turned, 1.0)]
    assert warning.startswith("the picture is turned or mirrored and was not at its start")
