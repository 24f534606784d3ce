"""Clips that carry one trouble each, named for it. They build on `media.Clip`."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.codec.context import Flags

from .media import Clip, plain, tone, write

BT709, BT601, BT2020 = 1, 6, 9
MASTERING = "mastering-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):cll=1000,400"


# --- time -----------------------------------------------------------------------------------------------------------


def late_start(folder: Path, *, suffix: str = ".mp4", first: int = 12345) -> Path:
    """The video begins almost a second after zero, off the millisecond; the sound begins at zero."""
    clip = Clip(pts=[first + 512 * i for i in range(20)], time_base=Fraction(1, 12800), audio_seconds=1.8)
    return write(folder / f"late_start{suffix}", clip, container={"movie_timescale": "12800"} if _mp4(suffix) else {})


def edit_list(folder: Path, *, hidden: int = 5) -> Path:
    """An edit list hides the first `hidden` frames, in the middle of their group of pictures."""
    path = write(folder / "edit_list.mp4", Clip(frames=30, audio=(), options={"bf": "0"}))
    data = bytearray(path.read_bytes())
    entry = data.index(b"elst") + 12
    length, start = struct.unpack_from(">Ii", data, entry)
    struct.pack_into(">Ii", data, entry, length - 40 * hidden, start + 512 * hidden)
    path.write_bytes(bytes(data))
    return path


def b_frames(folder: Path, *, suffix: str = ".mp4") -> Path:
    options = {"bf": "3", "b-pyramid": "normal", "b_strategy": "0", "preset": "medium"}
    return write(folder / f"b_frames{suffix}", Clip(frames=40, options=options))


def duplicate_dts(folder: Path) -> Path:
    """Sound in which each tenth packet carries the time of the one before."""
    return _with_copied_sound(folder / "duplicate_dts.mkv", lambda i, pts: pts - (1024 if i % 10 == 9 else 0))


def million_rate(folder: Path) -> Path:
    """A header of a million frames a second."""
    clip = Clip(pts=range(30), time_base=Fraction(1, 1000000), rate=Fraction(1000000), audio=())
    return write(folder / "million_rate.mp4", clip)


# --- pictures -------------------------------------------------------------------------------------------------------


def pixels(folder: Path, pix_fmt: str, *, codec: str = "libx264", suffix: str = ".mp4", **more: Any) -> Path:
    """A clip in a given pixel format: `yuv420p10le`, `yuv422p`, `yuv444p`, `nv12` and so on."""
    clip = Clip(pix_fmt=pix_fmt, codec=codec, frames=more.pop("frames", 8), audio=more.pop("audio", ()), **more)
    return write(folder / f"{codec}_{pix_fmt}{suffix}", clip)


def odd_sized(folder: Path, size: tuple[int, int] = (161, 121)) -> Path:
    """Odd width and height in 4:2:0, which VP9 can hold."""
    return pixels(folder, "yuv420p", codec="libvpx-vp9", suffix=".webm", size=size, options={"deadline": "realtime"})


def rotated(folder: Path, degrees: int = 90, *, suffix: str = ".mp4") -> Path:
    """Shown turned, by the display matrix of the container; degrees counter-clockwise."""
    return write(
        folder / f"rotated{degrees}{suffix}",
        Clip(frames=8, audio=(), setup=lambda out, video: video.set_display_rotation(degrees)),
    )


def interlaced(folder: Path, *, suffix: str = ".mp4") -> Path:
    def setup(out: Any, video: av.VideoStream) -> None:
        video.codec_context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        video.codec_context.options["field_order"] = "tt"

    return write(
        folder / f"interlaced{suffix}", Clip(frames=12, audio=(), setup=setup, options={"x264-params": "tff=1"})
    )


def anamorphic(folder: Path, *, suffix: str = ".mp4") -> Path:
    def setup(out: Any, video: av.VideoStream) -> None:
        video.codec_context.sample_aspect_ratio = Fraction(16, 11)

    return write(folder / f"anamorphic{suffix}", Clip(frames=8, audio=(), setup=setup))


def tagged(folder: Path, colour: int, *, full: bool = False, pix_fmt: str = "yuv420p", suffix: str = ".mp4") -> Path:
    """Colour tags: `colour` stands for primaries, transfer and matrix alike (BT.2020's transfer is 14)."""

    def setup(out: Any, video: av.VideoStream) -> None:
        context = video.codec_context
        context.color_range = 2 if full else 1
        context.color_primaries, context.colorspace = colour, colour
        context.color_trc = 14 if colour == BT2020 else colour

    name = f"tagged{colour}{'_full' if full else ''}{suffix}"
    return write(folder / name, Clip(frames=8, audio=(), pix_fmt=pix_fmt, setup=setup))


def hdr(folder: Path) -> Path:
    """BT.2020 PQ in ten bits with a mastering display and light levels."""

    def setup(out: Any, video: av.VideoStream) -> None:
        context = video.codec_context
        context.color_range, context.color_primaries, context.color_trc, context.colorspace = 1, BT2020, 16, BT2020

    clip = Clip(frames=8, audio=(), pix_fmt="yuv420p10le", setup=setup, options={"x264-params": MASTERING})
    return write(folder / "hdr.mp4", clip)


# --- streams --------------------------------------------------------------------------------------------------------


def several_audio(folder: Path, *, suffix: str = ".mp4", codecs: Sequence[str] = ("aac", "ac3", "aac")) -> Path:
    """Three sound tracks with languages and titles; the second is the default one."""

    def setup(out: av.container.OutputContainer, video: Any) -> None:
        for index, (stream, language) in enumerate(zip(out.streams.audio, ("eng", "deu", "fra"), strict=False)):
            stream.metadata.update({"language": language, "title": f"Track {language}"})
            stream.disposition = av.stream.Disposition.default if index == 1 else av.stream.Disposition.comment

    return write(folder / f"several_audio{suffix}", Clip(frames=25, audio=tuple(codecs), setup=setup))


LINES = ((0, 400, "Hello"), (400, 300, "there"), (800, 200, "Bye"))


def rich(
    folder: Path,
    *,
    suffix: str = ".mkv",
    subtitle: str = "subrip",
    lines: Sequence[tuple[int, int, str]] = LINES,
) -> Path:
    """Subtitles (`lines` as start, length in milliseconds, words), an attachment (Matroska only), chapters and tags."""

    def setup(out: av.container.OutputContainer, video: Any) -> None:
        out.metadata.update({"title": "A rich one", "artist": "Nobody", "comment": "ünïcode"})
        out.set_chapters([_chapter(0, 0, 500, "One"), _chapter(1, 500, 1000, "Two")])
        text = out.add_stream(subtitle)
        text.codec_context.subtitle_header = HEADER
        text.codec_context.time_base = Fraction(1, 1000)
        text.metadata["language"] = "deu"
        text.disposition = av.stream.Disposition.forced
        if suffix == ".mkv":
            out.add_attachment("font.ttf", "application/x-truetype-font", b"\x00\x01\x00\x00" + bytes(range(200)))

    def subtitles(out: av.container.OutputContainer) -> None:
        stream = out.streams.subtitles[0]
        for start, length, words in lines:
            made = av.subtitles.subtitle.SubtitleSet.create(b"0,0,Default,,0,0,0,," + words.encode(), 0, length)
            packet = stream.codec_context.encode_subtitle(made)
            packet.pts = packet.dts = start
            packet.duration, packet.time_base, packet.stream = length, Fraction(1, 1000), stream
            out.mux(packet)

    return write(folder / f"rich{suffix}", Clip(frames=25, setup=setup, mux_extra=subtitles))


HEADER = (
    b"[Script Info]\r\nScriptType: v4.00+\r\n\r\n[V4+ Styles]\r\nFormat: Name, Fontname, Fontsize, PrimaryColour, "
    b"SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, "
    b"BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding\r\nStyle: Default,Arial,16,&Hffffff,"
    b"&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0\r\n\r\n[Events]\r\nFormat: Layer, Start, End, Style, "
    b"Name, MarginL, MarginR, MarginV, Effect, Text\r\n"
)


def cover_art(folder: Path, *, suffix: str = ".mp4", sleeve: Path | None = None) -> Path:
    """A picture on the sleeve: a second video stream that is none."""
    if sleeve is None:
        sleeve = folder / "sleeve.jpg"
        write(sleeve, Clip(size=(64, 64), frames=1, audio=(), codec="mjpeg", pix_fmt="yuvj420p"), format="image2")
    plain_path = plain(folder)
    path = folder / f"cover_art{suffix}"
    with av.open(str(plain_path)) as source, av.open(str(sleeve)) as image, av.open(str(path), "w") as out:
        copies = {s.index: out.add_stream_from_template(s, opaque=True) for s in source.streams}
        picture = out.add_stream_from_template(image.streams.video[0], opaque=True)
        picture.disposition = av.stream.Disposition.attached_pic
        for packet in image.demux():
            if packet.size:
                packet.stream = picture
                out.mux(packet)
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    return path


def several_videos(folder: Path) -> Path:
    """Two real video streams; the second is smaller."""

    def setup(out: av.container.OutputContainer, video: Any) -> None:
        second = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        second.codec_context.width, second.codec_context.height, second.codec_context.pix_fmt = 96, 64, "yuv420p"

    def extra(out: av.container.OutputContainer) -> None:
        from .media import pictures

        stream = out.streams.video[1]
        for frame in pictures(Clip(size=(96, 64), frames=20)):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))

    return write(folder / "several_videos.mp4", Clip(frames=25, audio=(), setup=setup, mux_extra=extra))


# --- damage ---------------------------------------------------------------------------------------------------------


def truncated(folder: Path, *, suffix: str = ".mp4", part: float = 0.6) -> Path:
    """Cut off at `part` of its bytes; the index stands before, so that it opens."""
    clip = Clip(frames=75, options={"g": "12"})
    path = write(folder / f"truncated{suffix}", clip, container={"movflags": "faststart"} if _mp4(suffix) else {})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    return path


def headless(folder: Path) -> Path:
    """Cut off before its index was written."""
    path = plain(folder)
    cut = folder / "headless.mp4"
    cut.write_bytes(path.read_bytes()[:4000])
    return cut


def corrupt(folder: Path, *, suffix: str = ".mp4") -> Path:
    """Bytes in the middle overwritten; the index and the start are whole."""
    path = write(
        folder / f"corrupt{suffix}",
        Clip(frames=75, options={"g": "12"}),
        container={"movflags": "faststart"} if _mp4(suffix) else {},
    )
    data = bytearray(path.read_bytes())
    for position in range(int(len(data) * 0.45), int(len(data) * 0.6), 97):
        data[position : position + 24] = bytes((position * 7 + k * 31) % 256 for k in range(24))
    path.write_bytes(bytes(data))
    return path


def audio_only(folder: Path) -> Path:
    path = folder / "audio_only.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=44100, layout="stereo")
        for frame in tone(0.5):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def empty(folder: Path) -> Path:
    path = folder / "empty.mp4"
    path.touch()
    return path


def text_as_mp4(folder: Path) -> Path:
    path = folder / "text.mp4"
    path.write_text("This is no video, whatever its name says.\n" * 100)
    return path


def resized_header(folder: Path, width: int, height: int) -> Path:
    """Raw video whose header claims a size of its own."""
    path = folder / f"raw_{width}x{height}.mov"
    write(path, Clip(size=(64, 64), frames=3, audio=(), codec="rawvideo", pix_fmt="rgb24"))
    data = bytearray(path.read_bytes())
    entry = data.index(b"stsd") + 12
    struct.pack_into(">HH", data, entry + 4 + 28, width, height)
    path.write_bytes(bytes(data))
    return path


# --- helpers --------------------------------------------------------------------------------------------------------


def _mp4(suffix: str) -> bool:
    return suffix in (".mp4", ".mov", ".m4v")


def _chapter(number: int, start: int, end: int, title: str) -> Any:
    return {"id": number, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}


def _with_copied_sound(path: Path, stamp: Any) -> Path:
    """A plain clip whose sound packets get the times that `stamp(index, pts)` says (ticks of 1/44100 s)."""
    source_path = plain(path.parent, frames=50)
    with av.open(str(source_path)) as source, av.open(str(path), "w") as out:
        copies = {s.index: out.add_stream_from_template(s, opaque=True) for s in source.streams}
        index = 0
        for packet in source.demux():
            if not packet.size:
                continue
            if packet.stream.type == "audio":
                packet.pts = packet.dts = max(stamp(index, packet.pts), 0)
                index += 1
            packet.stream = copies[packet.stream_index]
            out.mux(packet)
    return path
