"""Everything beside the protected picture reaches the output, or is named in a warning."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.stream import Disposition

from stream_guard.errors import UsageError
from stream_guard.media import EncoderSettings, losses, open_source, transcode
from stream_guard.media.carry import video_tags
from stream_guard.media.containers import container_for
from tests.media.reading import read
from tests.support import media, troubles
from tests.support.carried import QUICK, carried


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_all_sound_tracks_are_copied(suffix: str, tmp_path: Path) -> None:
    source, target = troubles.several_audio(tmp_path, suffix=suffix), tmp_path / f"out{suffix}"
    report = carried(source, target)
    assert report.warnings == []
    before, after = read(source), read(target)
    assert after.payload == before.payload, "copied sound is copied byte by byte"
    assert after.packets == before.packets
    with av.open(str(source)) as a, av.open(str(target)) as b:
        for was, now in zip(a.streams.audio, b.streams.audio, strict=True):
            assert (now.name, now.language, now.disposition) == (was.name, was.language, was.disposition)
            assert now.metadata.get("title") == was.metadata.get("title")


def test_track_titles_become_handler_names_in_mp4(tmp_path: Path) -> None:
    carried(troubles.several_audio(tmp_path, suffix=".mkv"), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as out:
        assert [s.metadata["handler_name"] for s in out.streams.audio] == ["Track eng", "Track deu", "Track fra"]


def test_languages_are_known_in_mov_by_other_codes(tmp_path: Path) -> None:
    carried(troubles.several_audio(tmp_path, suffix=".mp4"), tmp_path / "out.mov")
    with av.open(str(tmp_path / "out.mov")) as out:
        assert [s.language for s in out.streams.audio] == ["eng", "ger", "fra"]


def test_matroska_keeps_subtitles_attachment_chapters_and_tags(tmp_path: Path) -> None:
    source, target = troubles.rich(tmp_path), tmp_path / "out.mkv"
    assert carried(source, target).warnings == []
    before, after = read(source), read(target)
    assert after.payload == before.payload
    assert after.packets == before.packets
    with av.open(str(source)) as a, av.open(str(target)) as b:
        assert b.metadata == a.metadata
        assert b.chapters() == a.chapters()
        (font,) = b.streams.attachments
        assert (font.name, font.mimetype, font.data) == ("font.ttf", "application/x-truetype-font", font_data(a))
        assert b.streams.subtitles[0].disposition == Disposition.forced
        assert b.streams.subtitles[0].language == "deu"


def font_data(container: av.container.InputContainer) -> bytes:
    return container.streams.attachments[0].data


@pytest.mark.parametrize(
    ("suffix", "subtitle", "target", "codec"),
    [
        (".mkv", "subrip", ".mp4", "mov_text"),
        (".mp4", "mov_text", ".mkv", "subrip"),
        (".mkv", "ass", ".mp4", "mov_text"),
        (".mkv", "subrip", ".webm", "webvtt"),
    ],
)
def test_text_subtitles_are_turned_into_the_nearest(
    suffix: str, subtitle: str, target: str, codec: str, tmp_path: Path
) -> None:
    source, out = troubles.rich(tmp_path, suffix=suffix, subtitle=subtitle), tmp_path / f"out{target}"
    settings = EncoderSettings(threads=1) if target == ".webm" else QUICK
    warnings = transcode(str(source), str(out), settings)[1].warnings
    assert any(f"({subtitle})" in w or f"is written as {codec}" in w for w in warnings)
    with av.open(str(out)) as container:
        stream = container.streams.subtitles[0]
        assert stream.codec_context.codec.canonical_name == codec
        lines = {p.pts * p.time_base: bytes(p) for p in container.demux(stream) if p.size > 2}
    assert [float(t) for t in lines] == [0, 0.4, 0.8]
    for words, packet in zip((b"Hello", b"there", b"Bye"), lines.values(), strict=True):
        assert words in packet


def test_what_mpegts_cannot_hold_is_named(tmp_path: Path) -> None:
    warnings = carried(troubles.rich(tmp_path), tmp_path / "out.ts").warnings
    words = " | ".join(warnings)
    for named in ("subtitle stream #2", "attachment stream #3", "2 chapters", "ARTIST"):
        assert named in words


def with_pages(folder: Path) -> Path:
    """A video with two pages of subtitles as discs hold them, each empty: an end without a beginning."""
    pages, path = folder / "in.sup", folder / "in.mkv"
    pages.write_bytes(b"".join(b"PG" + struct.pack(">IIBH", ticks, 0, 0x80, 0) for ticks in (9000, 45000)))
    with (
        av.open(str(media.plain(folder, frames=15))) as video,
        av.open(str(pages), format="sup") as text,
        av.open(str(path), "w") as out,
    ):
        added = [(source, out.add_stream_from_template(source.streams[0])) for source in (video, text)]
        for source, stream in added:
            for packet in source.demux(source.streams[0]):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
    return path


@pytest.mark.parametrize(("suffix", "pages"), [(".m2ts", 2), (".mts", 2), (".ts", 0)])
def test_pages_of_a_disc_are_read_back_or_named(suffix: str, pages: int, tmp_path: Path) -> None:
    """FFmpeg writes them into any transport stream, and finds them again in those with numbers of a disc alone."""
    target = tmp_path / f"out{suffix}"
    words = " ".join(carried(with_pages(tmp_path), target).warnings)
    with av.open(str(target)) as out:
        kinds = [s.codec_context.codec.canonical_name for s in out.streams]
        assert kinds == ["h264", "hdmv_pgs_subtitle"][: 2 if pages else 1]
        assert sum(bool(p.size) for p in out.demux() if p.stream_index) == pages
    assert ("stream #1 (hdmv_pgs_subtitle) is left out" in words) == (pages == 0)


def test_what_a_disc_has_no_number_for_is_named(tmp_path: Path) -> None:
    clip = media.Clip(frames=5, setup=lambda out, video: out.add_data_stream("klv"))
    warnings = carried(media.write(tmp_path / "in.ts", clip), tmp_path / "out.m2ts").warnings
    assert warnings == ["data stream #2 (klv) is left out of the mpegts output: the format does not hold it"]


def test_sound_that_the_container_refuses_is_encoded_anew(tmp_path: Path) -> None:
    clip = media.Clip(audio=("libopus",), frames=25)
    source, target = media.write(tmp_path / "in.mkv", clip), tmp_path / "out.mov"
    warnings = carried(source, target).warnings
    assert warnings == ["audio stream #1 (opus) is encoded anew as aac: mov does not hold its codec"]
    with av.open(str(target)) as out:
        times = [f.time for f in out.decode(audio=0)]
        assert out.streams.audio[0].name == "aac"
    assert times[0] == pytest.approx(0, abs=0.03)
    assert times[-1] == pytest.approx(1.0, abs=0.05)


def test_covers_keep_their_names_and_kinds(tmp_path: Path) -> None:
    """Matroska tells a small one from the others by its name."""
    clips = {"a.jpg": ("mjpeg", "yuvj420p"), "small_cover.png": ("png", "rgb24")}
    for name, (codec, pix_fmt) in clips.items():
        clip = media.Clip(size=(64, 64), frames=1, audio=(), codec=codec, pix_fmt=pix_fmt)
        media.write(tmp_path / name, clip, format="image2")
    source, target = tmp_path / "in.mkv", tmp_path / "out.mkv"
    jpeg, png = ((tmp_path / name).read_bytes() for name in ("a.jpg", "small_cover.png"))

    def covers(out: av.container.OutputContainer, video: Any) -> None:
        out.add_attachment("cover.jpg", "image/jpeg", jpeg)
        out.add_attachment("small_cover.png", "image/png", png)

    media.write(source, media.Clip(frames=4, setup=covers))
    carried(source, target)
    with av.open(str(target)) as out:
        found = [(s.metadata["filename"], s.metadata["mimetype"]) for s in out.streams.video[1:]]
    assert found == [("cover.jpg", "image/jpeg"), ("small_cover.png", "image/png")]


def test_streams_that_fare_alike_share_a_warning(tmp_path: Path) -> None:
    source = troubles.several_audio(tmp_path, codecs=("aac", "ac3", "aac", "aac"))
    assert transcode(str(source), str(tmp_path / "out.gif"))[1].warnings == [
        "audio stream #1 (aac) is left out of the gif output: the format holds no sound; the same goes for #3, #4",
        "audio stream #2 (ac3) is left out of the gif output: the format holds no sound",
    ]


def test_sound_in_a_gif_is_named(tmp_path: Path) -> None:
    report = transcode(str(media.plain(tmp_path, frames=5)), str(tmp_path / "out.gif"))[1]
    assert report.warnings == ["audio stream #1 (aac) is left out of the gif output: the format holds no sound"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_cover_art_is_copied_where_nothing_is_protected(suffix: str, tmp_path: Path) -> None:
    source, target = troubles.cover_art(tmp_path), tmp_path / f"out{suffix}"
    assert carried(source, target).warnings == []
    with av.open(str(target)) as out:
        (cover,) = [s for s in out.streams.video if s.disposition & Disposition.attached_pic]
        assert (cover.codec_context.width, cover.codec_context.height) == (64, 64)
    assert read(source).payload[2] == read(target).payload[2]


def test_several_videos_are_refused_in_clear_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds 2 video streams .*--all-video"):
        open_source(str(troubles.several_videos(tmp_path)))


def test_all_videos_are_protected_when_asked_for(tmp_path: Path) -> None:
    source, target = troubles.several_videos(tmp_path), tmp_path / "out.mp4"
    carried(source, target, all_video=True)
    assert read(target).frames == read(source).frames
    assert set(read(target).frames) == {0, 1}


def test_tags_with_names_of_their_own_survive_in_mp4(tmp_path: Path) -> None:
    clip = media.Clip(frames=5, setup=lambda out, video: out.metadata.update({"com.example.shot": "7", "title": "T"}))
    source = media.write(tmp_path / "in.mp4", clip, container={"movflags": "use_metadata_tags"})
    carried(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as out:
        assert out.metadata["com.example.shot"] == "7"
        assert out.metadata["title"] == "T"


def test_tags_in_another_encoding_do_not_end_the_run(tmp_path: Path) -> None:
    source = media.write(
        tmp_path / "in.mkv", media.Clip(frames=5, setup=lambda out, video: out.metadata.update({"title": "XXXXX"}))
    )
    source.write_bytes(source.read_bytes().replace(b"XXXXX", b"caf\xe9!"))
    carried(source, tmp_path / "out.mkv")
    assert b"caf\xe9!" in (tmp_path / "out.mkv").read_bytes()


def test_transparency_is_promised_only_where_it_is_kept(tmp_path: Path) -> None:
    clip = media.Clip(frames=5, audio=(), setup=lambda out, video: video.metadata.update({"alpha_mode": "1"}))
    source = media.write(tmp_path / "in.mkv", clip)
    carried(source, tmp_path / "out.mkv")
    with av.open(str(source)) as before, av.open(str(tmp_path / "out.mkv")) as after:
        was, now = before.streams.video[0], after.streams.video[0]
        assert was.metadata["ALPHA_MODE"] == video_tags(was, "yuva420p")["ALPHA_MODE"] == "1"
        assert "ALPHA_MODE" not in {name.upper() for name in now.metadata}


def timecoded(folder: Path, suffix: str) -> Path:
    clip = media.Clip(frames=5, audio=(), setup=lambda out, video: video.metadata.update({"timecode": "01:02:03:04"}))
    return media.write(folder / f"timecoded{suffix}", clip)


def test_the_timecode_track_is_made_anew_without_a_warning(tmp_path: Path) -> None:
    source, target = timecoded(tmp_path, ".mov"), tmp_path / "out.mov"
    assert carried(source, target).warnings == []
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert [s.type for s in after.streams] == [s.type for s in before.streams] == ["video", "data"]
        assert after.streams[1].metadata["timecode"] == "01:02:03:04"


def test_a_timecode_track_that_is_lost_is_named(tmp_path: Path) -> None:
    (warning,) = carried(timecoded(tmp_path, ".mov"), tmp_path / "out.mkv").warnings
    assert warning.startswith("data stream #1 (timecode) is left out of the matroska output")


def test_the_chapter_track_of_a_movie_is_no_loss(tmp_path: Path) -> None:
    chapters = [{"id": 0, "start": 0, "end": 200, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}]
    clip = media.Clip(frames=5, audio=(), setup=lambda out, video: out.set_chapters(chapters))
    source = media.write(tmp_path / "in.mov", clip)
    assert carried(source, tmp_path / "out.mov").warnings == []
    with av.open(str(tmp_path / "out.mov")) as after:
        assert [c["metadata"]["title"] for c in after.chapters()] == ["One"]


def measured(folder: Path) -> Path:
    """What a camera measures beside the picture (GPMF), where there are chapters too: made of a track of subtitles."""
    source, path = troubles.rich(folder, suffix=".mp4", subtitle="mov_text"), folder / "measured.mp4"
    data = source.read_bytes().replace(b"sbtl", b"meta", 1)
    entry = data.index(b"tx3g")
    path.write_bytes(data[:entry] + b"gpmd" + data[entry + 4 :])
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_what_a_camera_measured_stays_in_movies(suffix: str, tmp_path: Path) -> None:
    source, target = measured(tmp_path), tmp_path / f"out{suffix}"
    assert carried(source, target).warnings == []
    before, after = read(source), read(target)
    (data,) = [number for number in before.payload if number != 1]
    assert (after.payload[data], after.packets[data]) == (before.payload[data], before.packets[data])
    with av.open(str(target)) as out:
        assert len(out.chapters()) == 2


def test_what_a_camera_measured_is_named_where_it_is_lost(tmp_path: Path) -> None:
    (warning,) = carried(measured(tmp_path), tmp_path / "out.mkv").warnings
    assert warning.startswith("data stream #2 (bin_data) is left out of the matroska output")


@pytest.mark.parametrize(
    ("kind", "encoder", "suffix", "tags", "words"),
    [
        ("SPHERICAL", "libx264", ".mp4", {}, "spherical"),
        ("STEREO3D", "libx264", ".mp4", {}, ""),
        ("STEREO3D", "libx265", ".mp4", {}, "stereoscopic"),
        ("STEREO3D", "libx265", ".mp4", {"stereo_mode": "left_right"}, "stereoscopic"),
        ("STEREO3D", "libx265", ".mkv", {"stereo_mode": "left_right"}, ""),
        ("A53_CC", "libx265", ".mkv", {}, ""),
        ("ICC_PROFILE", "libx264", ".mkv", {}, "colour profile"),
        ("ICC_PROFILE", "mjpeg", ".mkv", {}, ""),
        ("AFD", "libx264", ".ts", {}, "active format"),
        ("S12M_TIMECODE", "libx264", ".mp4", {}, "timecodes"),
    ],
)
def test_what_cannot_be_said_of_pictures_is_named(
    kind: str, encoder: str, suffix: str, tags: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "kinds", lambda picture: {kind})
    found = losses.lost_with_pictures(media.picture(0, (64, 64)), encoder, container_for(f"x{suffix}"), tags)
    assert words in " ".join(found)
    assert len(found) == bool(words)
