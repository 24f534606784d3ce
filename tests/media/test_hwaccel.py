"""Devices that decode and encode: what is listed, what is refused, and that a missing one costs nothing but words."""

from __future__ import annotations

import errno
import logging
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import av.codec.hwaccel
import pytest
from av.error import FFmpegError

from stream_guard.errors import ConfigError, SourceError, UnknownNameError
from stream_guard.media import EncoderSettings, FileSink, SourceReport, fallback, hwaccel, open_source
from stream_guard.media.containers import container_for
from stream_guard.media.decoder import LOST_AFTER, StreamDecoder
from stream_guard.media.settings import encoder_named, encoder_options
from stream_guard.types import Frame

from ..support import media, troubles
from ..support.pictures import raw_samples

BROKEN = "its driver or libraries can't be loaded"


@pytest.fixture
def without_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a GPU, also where there is one."""
    monkeypatch.setattr(hwaccel, "device_trouble", lambda name: BROKEN)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return media.plain(tmp_path, frames=12)


def read(path: Path, asked: str) -> list[tuple[int, int, str, tuple[int, ...], bytes]]:
    with open_source(str(path), hwaccel=asked) as source:
        frames = [item for item in source.read() if isinstance(item, Frame)]
    return [(f.pts, f.duration, f.picture.format.name, _tags(f.picture), _content(f.picture)) for f in frames]


def _tags(picture: av.VideoFrame) -> tuple[int, ...]:
    return tuple(int(t) for t in (picture.color_range, picture.colorspace, picture.color_trc, picture.color_primaries))


def _content(picture: av.VideoFrame) -> bytes:
    return b"".join(samples.tobytes() for samples in raw_samples(picture).values())


def test_only_devices_that_decode_are_listed() -> None:
    names = hwaccel.hwaccel_names()
    assert names[:2] == ["auto", "none"]
    assert set(names[2:]) <= set(av.codec.hwaccel.hwdevices_available())


def test_a_device_that_is_not_compiled_in_is_refused_with_those_there_are(clip: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown hwaccel 'warp'; choose one of: auto") as caught:
        open_source(str(clip), hwaccel="warp")
    assert all(name in str(caught.value) for name in hwaccel.hwaccel_names())


def test_none_asks_no_device(monkeypatch: pytest.MonkeyPatch, clip: Path) -> None:
    def asked(*arguments: Any) -> str:
        raise AssertionError("a device was asked for")

    monkeypatch.setattr(hwaccel, "device_trouble", asked)
    monkeypatch.setattr(fallback, "encoder_trouble", asked)
    with open_source(str(clip)) as source:
        assert source.acceleration is hwaccel.PLAIN


@pytest.mark.usefixtures("without_device")
@pytest.mark.parametrize(
    "make", [troubles.b_frames, troubles.hdr, media.vfr, lambda f: troubles.tagged(f, 1, full=True)]
)
def test_auto_without_a_device_loses_no_picture_no_time_and_no_tag(make: Any, tmp_path: Path) -> None:
    made = make(tmp_path)
    assert read(made, "auto") == read(made, "none")


@pytest.mark.usefixtures("without_device")
def test_a_named_device_that_fails_is_said_once_and_reported(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    name = hwaccel.decoding_devices()[0]
    with caplog.at_level(logging.INFO), open_source(str(clip), hwaccel=name) as source:
        assert source.acceleration.used == "none"
        assert source.info.warnings == (source.acceleration.words,)
    assert caplog.messages == [f"hwaccel {name} can't be used ({name}: {BROKEN}); video is decoded on the processor"]


@pytest.mark.usefixtures("without_device")
def test_auto_that_fails_is_no_warning(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), open_source(str(clip), hwaccel="auto") as source:
        assert source.info.warnings == ()
        assert source.acceleration.words in caplog.messages


def test_a_stream_that_the_device_does_not_decode_is_told(caplog: pytest.LogCaptureFixture) -> None:
    chosen = hwaccel.Acceleration("cuda", "cuda", on_device=True)
    context: Any = SimpleNamespace(codec=SimpleNamespace(canonical_name="ffv1"), is_hwaccel=False)
    found = hwaccel.told(chosen, context, av.VideoFrame(64, 48, "yuv420p"))
    assert (found.used, found.on_device) == ("none", False)
    assert found.words == (
        "hwaccel cuda does not decode this ffv1 stream (yuv420p 64x48); it is decoded on the processor"
    )
    assert hwaccel.told(chosen, context, av.VideoFrame(64, 48, "nv12")) is chosen


def test_pictures_that_can_not_stay_on_the_device_are_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where torch was first to use CUDA in this process: FFmpeg refuses to share it, and decodes beside it."""

    class Device:
        def __init__(self, name: str, is_hw_owned: bool = False) -> None:
            self.shared = is_hw_owned

        def create(self, codec: Any) -> None:
            if self.shared:
                raise FFmpegError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(hwaccel, "HWAccel", Device)
    monkeypatch.setattr(hwaccel, "decoding_devices", lambda: ("cuda",))
    found = hwaccel.choose("cuda", on_device=True)
    assert (found.used, found.on_device, found.warns) == ("cuda", False, True)
    assert found.words.startswith("pictures can't stay on the device cuda (Operation not supported; torch or another")


class _Refusing:
    """A video stream whose decoder refuses every packet, as one on a lost GPU does."""

    time_base, average_rate, guessed_rate = Fraction(1, 25), Fraction(25), None
    index = 0

    def __init__(self) -> None:
        self.metadata: dict[str, str] = {}
        self.container = SimpleNamespace(format=SimpleNamespace(name="mp4"))
        self.codec_context = SimpleNamespace(flags=0)

    def decode(self, packet: Any) -> list[Any]:
        raise FFmpegError(5, "lost")


@pytest.mark.parametrize("device", ["", "cuda"])
def test_a_lost_device_ends_the_run_and_damage_does_not(device: str) -> None:
    report = SourceReport()
    stream: Any = _Refusing()
    decoder = StreamDecoder(stream, report, 1)
    decoder.device = device

    def feed(count: int) -> None:
        for number in range(count):
            packet: Any = SimpleNamespace(dts=number, pts=number, is_keyframe=False)
            assert list(decoder.decode(packet)) == []

    feed(LOST_AFTER - 1)
    if device:
        with pytest.raises(SourceError, match=r"refused 32 packets in a row and counts as lost; .*--hwaccel none"):
            feed(1)
    else:
        feed(LOST_AFTER)
    assert report.corrupt_packets >= LOST_AFTER


def resolve(path: Path, settings: EncoderSettings, name: str = "out.mp4") -> tuple[EncoderSettings, list[str]]:
    warnings: list[str] = []
    with open_source(str(path)) as source:
        return fallback.resolved(settings, container_for(name), source.info.video, warnings), warnings


@pytest.mark.parametrize(
    ("codec", "preset", "instead"),
    [("h264_nvenc", "p5", "slow"), ("hevc_nvenc", None, None), ("h264_nvenc", "slow", "slow")],
)
def test_a_named_encoder_that_does_not_open_is_replaced_in_words(
    codec: str, preset: str | None, instead: str | None, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fallback, "encoder_trouble", lambda name, info: "it does not open: no GPU")
    asked = EncoderSettings(codec=codec, preset=preset, crf=25, gop=50, options={"spatial-aq": "1"})
    found, warnings = resolve(clip, asked)
    software = encoder_named(codec).software
    assert (found.codec, found.preset, found.crf, found.gop, dict(found.options)) == (software, instead, 25, 50, {})
    assert warnings == [
        f"the encoder {codec} can't be used (it does not open: no GPU); {software} encodes instead, "
        "without the options spatial-aq"
    ]


def test_a_device_implies_its_encoder_where_it_opens(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "encoder_trouble", lambda name, info: "")
    cuda = EncoderSettings(hwaccel="cuda", preset="medium")
    assert resolve(clip, cuda)[0].codec == "h264_nvenc"
    assert resolve(clip, cuda, "out.webm")[0].codec is None
    for settled in (
        EncoderSettings(hwaccel="cuda", codec="libx264"),
        EncoderSettings(hwaccel="cuda", options={"tune": "film"}),
        EncoderSettings(hwaccel="cuda", pix_fmt="yuv420p"),
        EncoderSettings(hwaccel="vaapi"),
        EncoderSettings(),
    ):
        assert resolve(clip, settled)[0] is settled


def test_an_implied_encoder_that_does_not_open_is_only_logged(
    clip: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fallback, "encoder_trouble", lambda name, info: "no GPU")
    with caplog.at_level(logging.INFO):
        found, warnings = resolve(clip, EncoderSettings(hwaccel="cuda"))
    assert (found.codec, warnings) == (None, [])
    assert caplog.messages == ["the encoder h264_nvenc can't be used (no GPU); libx264 encodes"]


def test_quality_and_preset_by_the_names_of_x264_become_those_of_nvenc() -> None:
    nvenc = encoder_named("h264_nvenc")
    assert encoder_options(nvenc, EncoderSettings(crf=23, preset="veryslow")) == {
        "rc": "vbr",
        "preset": "p7",
        "cq": "23",
    }
    assert encoder_options(nvenc, EncoderSettings(preset="p4"))["preset"] == "p4"
    assert "cq" not in encoder_options(nvenc, EncoderSettings(bit_rate=2_000_000))
    with pytest.raises(ConfigError, match=r"h264_nvenc takes 1 .best. to 51"):
        encoder_options(nvenc, EncoderSettings(crf=0))
    with pytest.raises(UnknownNameError, match="p1, p2"):
        encoder_options(nvenc, EncoderSettings(preset="p9"))


def test_an_encoder_that_really_does_not_open_leaves_a_whole_file(clip: Path, tmp_path: Path) -> None:
    """Without a simulated failure: where there is a GPU, NVENC writes the file, else x264 with a warning."""
    target = tmp_path / "out.mp4"
    with open_source(str(clip)) as source:
        opens = not fallback.encoder_trouble("h264_nvenc", source.info.video)
        with FileSink(str(target), source, EncoderSettings(codec="h264_nvenc")) as sink:
            for item in source.read():
                sink.write(item) if isinstance(item, Frame) else sink.write_packet(item)
    assert bool(sink.report.warnings) is not opens
    with av.open(str(target)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12


@pytest.mark.parametrize("asked", ["none", "auto"])
@pytest.mark.usefixtures("without_device")
def test_the_encoded_file_is_the_same_to_the_bit(asked: str, clip: Path, tmp_path: Path) -> None:
    def write(name: str, hwaccel: str = "none") -> bytes:
        with open_source(str(clip), hwaccel=hwaccel) as source:
            settings = EncoderSettings(threads=1, hwaccel=source.acceleration.used, **media.SAME_BITS)
            with FileSink(str(tmp_path / name), source, settings) as sink:
                for item in source.read():
                    sink.write(item) if isinstance(item, Frame) else sink.write_packet(item)
        return (tmp_path / name).read_bytes()

    assert write("asked.mp4", asked) == write("never_asked.mp4")
