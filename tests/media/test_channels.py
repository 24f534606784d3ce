"""Sound whose channels, rate or presence a container or an encoder can't take as they are."""

from __future__ import annotations

import io
import json
import logging
import struct
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from stream_guard.media import EncoderSettings, channels, open_live, transcode
from stream_guard.media.channels import layout_of
from stream_guard.media.inner import OWN, UNNAMED, channel_order
from stream_guard.media.live import AudioInfo
from stream_guard.media.live.sound import AacTap, aac_stream
from tests.media.feeding import fed
from tests.media.reading import read
from tests.support import media
from tests.support.servers import wait_for

QUICK = EncoderSettings(preset="ultrafast", threads=1)
SOUND_PID = 257
THREE_FROM_THE_CENTRE = 114 << 16 | 3
"""The movie layout tag of center, left, right: three channels in an order of their own."""


def sounding(path: Path, codec: str, *, rate: int = 44100, layout: str = "stereo") -> Path:
    def setup(out: av.container.OutputContainer, video: Any) -> None:
        out.add_stream(codec, rate=rate, layout=layout, bit_rate=128000)

    def sound(out: av.container.OutputContainer) -> None:
        stream = out.streams.audio[0]
        resampler = av.AudioResampler(stream.format, stream.layout, stream.rate)
        for block in media.tone(1.0, rate):
            for frame in resampler.resample(block):
                out.mux(stream.encode(frame))
        out.mux(stream.encode(None))

    return media.write(path, media.Clip(frames=25, audio=(), setup=setup, mux_extra=sound))


def silent(folder: Path) -> Path:
    """A transport stream that announces sound and has none: its packets are taken out."""
    data = media.plain(folder, suffix=".ts").read_bytes()
    packets = [data[i : i + 188] for i in range(0, len(data), 188)]
    path = folder / "silent.ts"
    path.write_bytes(b"".join(p for p in packets if (p[1] & 0x1F) << 8 | p[2] != SOUND_PID))
    return path


def disordered(folder: Path) -> Path:
    path = sounding(folder / "disordered.mov", "pcm_s16le", layout="3.0")
    data = bytearray(path.read_bytes())
    struct.pack_into(">I", data, data.index(b"chan") + 8, THREE_FROM_THE_CENTRE)
    path.write_bytes(bytes(data))
    return path


def apart(pairs: Sequence[tuple[Path, Path]]) -> list[list[str]]:
    """The warnings of each transcode, made in a process of its own: what was wrong here ended the whole process."""
    code = (
        "import json, sys\n"
        "from stream_guard.media import EncoderSettings, transcode\n"
        "quick = EncoderSettings(preset='ultrafast', threads=1)\n"
        "told = [transcode(*pair, quick, overwrite=True)[1].warnings for pair in json.loads(sys.argv[1])]\n"
        "print(json.dumps(told))\n"
    )
    words = json.dumps([[str(source), str(target)] for source, target in pairs])
    done = subprocess.run([sys.executable, "-c", code, words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told: list[list[str]] = json.loads(done.stdout)
    return told


def test_sound_that_flv_would_abort_for_is_encoded_anew(tmp_path: Path) -> None:
    made = {"pcm_s16le": ".mkv", "pcm_u8": ".mkv", "pcm_alaw": ".avi", "pcm_mulaw": ".avi", "adpcm_swf": ".nut"}
    sources = [sounding(tmp_path / f"{codec}{suffix}", codec) for codec, suffix in made.items()]
    # Named channels, but more than the two that FLV knows without a name for the codec.
    sources.append(sounding(tmp_path / "wide.mov", "pcm_s16le", layout="5.1"))
    targets = [tmp_path / f"out{number}.flv" for number in range(len(sources))]
    told = apart(list(zip(sources, targets, strict=True)))
    for codec, target, warnings in zip([*made, "pcm_s16le"], targets, told, strict=True):
        assert warnings == [f"audio stream #1 ({codec}) is encoded anew as aac: flv does not hold its codec"]
        with av.open(str(target)) as out:
            assert out.streams.audio[0].name == "aac"
            assert sum(f.samples for f in out.decode(audio=0)) == pytest.approx(44100, abs=3000)


@pytest.mark.parametrize("encoder", ["flac", "libopus"])
def test_sound_without_the_setup_that_flv_needs_is_not_tried(encoder: str, tmp_path: Path) -> None:
    with av.open(str(sounding(tmp_path / "in.mkv", encoder, rate=48000))) as source:
        stream = source.streams.audio[0]
        assert channels.may_be_asked("flv", stream)
        stream.codec_context.extradata = None
        assert not channels.may_be_asked("flv", stream)


def test_channels_in_an_order_of_their_own_are_copied_or_named(tmp_path: Path) -> None:
    source = disordered(tmp_path)
    with av.open(str(source)) as container:
        assert channel_order(container.streams.audio[0]) == (OWN, 3)
    targets = [tmp_path / name for name in ("out.mov", "out.mkv", "out.flv", "out.ts")]
    copied, also, *told = apart([(source, target) for target in targets])
    assert copied == also == []
    for warnings, format in zip(told, ("flv", "mpegts"), strict=True):
        (words,) = warnings
        assert words.startswith(f"audio stream #1 (pcm_s16le) is left out of the {format} output")
        assert "in an order that nothing encodes" in words


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("origin", [".mkv", ".avi"])
def test_channels_that_nobody_named_are_copied(origin: str, suffix: str, tmp_path: Path) -> None:
    source, target = sounding(tmp_path / f"in{origin}", "pcm_s16le"), tmp_path / f"out{suffix}"
    with av.open(str(source)) as container:
        assert container.streams.audio[0].layout.name == "2 channels"
    assert transcode(str(source), str(target), QUICK)[1].warnings == []
    assert read(target).payload[1] == read(source).payload[1]
    if suffix != ".mkv":  # There nobody can name them.
        with av.open(str(target)) as container:
            assert container.streams.audio[0].layout.name == "stereo"


@pytest.mark.parametrize("suffix", [".ts", ".flv", ".webm"])
@pytest.mark.parametrize(("codec", "layout"), [("wmav2", "stereo"), ("pcm_s16le", "5.1"), ("pcm_u8", "mono")])
def test_channels_that_nobody_named_are_encoded(codec: str, layout: str, suffix: str, tmp_path: Path) -> None:
    origin = ".wmv" if codec == "wmav2" else ".mkv"
    source, target = sounding(tmp_path / f"in{origin}", codec, layout=layout), tmp_path / f"out{suffix}"
    settings = EncoderSettings(threads=1) if suffix == ".webm" else QUICK
    with av.open(str(source)) as container:
        assert channel_order(container.streams.audio[0])[0] == UNNAMED
        assert layout_of(container.streams.audio[0]) == layout
    folded = layout == "5.1" and suffix == ".webm"
    warnings = [w for w in transcode(str(source), str(target), settings)[1].warnings if "encoded anew" in w]
    assert [", folded down to stereo" in words for words in warnings] == [folded]
    with av.open(str(target)) as container:
        assert container.streams.audio[0].layout.name == ("stereo" if folded else layout)
        rate = container.streams.audio[0].rate
        assert sum(f.samples for f in container.decode(audio=0)) == pytest.approx(rate, abs=rate * 0.08)


def test_channels_and_rate_that_change_in_the_middle_are_encoded(tmp_path: Path) -> None:
    """As in a broadcast, where the film has other sound than the advertisement."""
    forms = ((48000, "5.1"), (48000, "stereo"), (44100, "stereo"))
    parts = [sounding(tmp_path / f"{i}.ts", "ac3", rate=rate, layout=form) for i, (rate, form) in enumerate(forms)]
    source, target = tmp_path / "in.ts", tmp_path / "out.webm"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    report = transcode(str(source), str(target), EncoderSettings(threads=1))[1]
    assert report.packets_refused == 0
    with av.open(str(target)) as container:
        heard = list(container.decode(audio=0))
    assert sum(frame.samples for frame in heard) == pytest.approx(3 * 48000, rel=0.05)
    assert heard[-1].time - heard[0].time == pytest.approx(3, abs=0.1)


def test_channels_that_change_in_a_live_stream_are_encoded(tmp_path: Path) -> None:
    forms = ("5.1", "stereo")
    parts = [sounding(tmp_path / f"{i}.ts", "ac3", rate=48000, layout=form) for i, form in enumerate(forms)]
    info = AudioInfo(1, "ac3", 48000, "5.1", Fraction(1, 90000))
    with av.open(io.BytesIO(), "w", format="matroska") as out:
        tap = AacTap(aac_stream(out, info), info)
        out.start_encoding()
        for second, part in enumerate(parts):
            with av.open(str(part)) as source:
                packets = [p for p in source.demux(audio=0) if p.size]
            shift = second * 90000 - (packets[0].pts or 0)
            for packet in packets:
                packet.pts = packet.dts = (packet.pts or 0) + shift
                units = list(tap.write(packet))
    assert tap.left_out == 0
    assert float(units[-1].end) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("suffix", [".ts", ".flv"])
def test_what_an_encoder_makes_before_the_first_sample_moves_nothing(suffix: str, tmp_path: Path) -> None:
    """AAC begins 1024 samples early: FLV would move the pictures too, a transport stream's clock would wrap."""
    source, target = sounding(tmp_path / "in.mkv", "pcm_s16le"), tmp_path / f"out{suffix}"
    report = transcode(str(source), str(target), QUICK)[1]
    assert (report.packets_left_out, report.sound_left_out_seconds) == (1, 0)
    with av.open(str(target)) as container:
        assert [stream.start_time for stream in container.streams] == [0, 0]


@pytest.mark.parametrize("suffix", [".ts", ".mp4", ".webm"])
def test_sound_in_a_clock_too_coarse_for_its_frames_is_encoded(suffix: str, tmp_path: Path) -> None:
    """AVI's clock ticks once a block, and WMA's decoder makes several frames of one."""
    source, target = sounding(tmp_path / "in.avi", "wmav2"), tmp_path / f"out{suffix}"
    settings = EncoderSettings(threads=1) if suffix == ".webm" else QUICK
    report = transcode(str(source), str(target), settings)[1]
    assert any("encoded anew" in words for words in report.warnings)
    assert (report.packets_refused, report.dts_repaired) == (0, 0)
    with av.open(str(target)) as container:
        rate = container.streams.audio[0].rate
        heard = list(container.decode(audio=0))
    assert sum(frame.samples for frame in heard) == pytest.approx(rate, abs=rate * 0.08)
    starts = [frame.time for frame in heard]
    assert starts == sorted(set(starts))
    assert starts[-1] == pytest.approx(1.0, abs=0.1)


def test_as_many_channels_as_have_no_usual_order_are_copied_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sounding(tmp_path / "in.mkv", "pcm_s16le")
    monkeypatch.setattr(channels, "channel_order", lambda stream: (UNNAMED, 9))
    assert transcode(str(source), str(tmp_path / "out.mkv"), QUICK)[1].warnings == []
    (words,) = transcode(str(source), str(tmp_path / "out.mp4"), QUICK)[1].warnings
    assert "left out of the mp4 output" in words


def test_pyav_is_asked_for_the_order_where_its_memory_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        av.open(str(sounding(tmp_path / "in.mkv", "pcm_s16le"))) as unnamed,
        av.open(str(media.plain(tmp_path))) as named,
    ):
        both = [container.streams.audio[0] for container in (unnamed, named)]
        known = [channel_order(stream) for stream in both]
        monkeypatch.setattr("stream_guard.media.inner._pointer", lambda _: 0)
        assert [channel_order(stream) for stream in both] == [None, None]
        assert [channels._order(stream) for stream in both] == known
        assert [layout_of(stream) for stream in both] == ["stereo", "stereo"]


@pytest.mark.parametrize(("rate", "nearest"), [(192000, 96000), (176400, 96000), (6000, 7350)])
@pytest.mark.parametrize("suffix", [".mov", ".ts"])
def test_a_rate_that_the_encoder_lacks_becomes_the_nearest(
    suffix: str, rate: int, nearest: int, tmp_path: Path
) -> None:
    source, target = sounding(tmp_path / "in.mkv", "flac", rate=rate), tmp_path / f"out{suffix}"
    (words,) = transcode(str(source), str(target), QUICK)[1].warnings
    assert f"encoded anew as aac, at {nearest} instead of {rate} Hz: " in words
    with av.open(str(target)) as out:
        assert out.streams.audio[0].rate == nearest
        samples = sum(f.samples for f in out.decode(audio=0))
    assert samples / nearest == pytest.approx(1.0, abs=2 * 1024 / nearest + 0.01)


def test_a_rate_in_the_middle_of_two_loses_nothing() -> None:
    assert channels._nearest_rate("aac", 14000) == 16000
    assert channels._nearest_rate("flac", 14000) == 14000, "it takes any"


class TestSoundThatIsOnlyAnnounced:
    @pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mkv", ".flv"])
    def test_is_named(self, suffix: str, tmp_path: Path) -> None:
        report = transcode(str(silent(tmp_path)), str(tmp_path / f"out{suffix}"), QUICK)[1]
        (words,) = report.warnings
        assert words.startswith("audio stream #1 (aac) is left out of the ")
        assert words.endswith("it is announced, but no sound of it was found where the input begins")
        assert len(read(tmp_path / f"out{suffix}").video) == report.frames == 30

    def test_is_no_live_sound(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING), open_live(str(silent(tmp_path)), allow_files=True) as source:
            assert (source.audio, source.copied) == ((), [])
        assert any("audio stream #1 is left out: it is announced" in entry for entry in caplog.messages)

    def test_does_not_end_a_live_stream(self, tmp_path: Path) -> None:
        record = tmp_path / "out.mkv"
        with fed(silent(tmp_path), [], record=str(record), sound=False) as sink:
            wait_for(lambda: sink.report.frames > 8, "frames")
        with av.open(str(record)) as container:
            assert [s.type for s in container.streams] == ["video"]


def test_live_sound_whose_channels_nobody_named_has_their_usual_names(tmp_path: Path) -> None:
    record = tmp_path / "out.mp4"
    source = sounding(tmp_path / "in.mkv", "pcm_s16le")
    with open_live(str(source), allow_files=True) as opened:
        assert [(a.codec, a.layout) for a in opened.audio] == [("pcm_s16le", "stereo")]
    with fed(source, [], record=str(record)) as sink:
        wait_for(lambda: sink.report.frames > 20, "frames")
    with av.open(str(record)) as container:
        assert container.streams.audio[0].layout.name == "stereo"
        assert sum(1 for _ in container.decode(audio=0)) > 5
