"""Languages, titles, marks and tags of streams reach the output, or are named."""

from __future__ import annotations

import re
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from stream_guard.media import EncoderSettings, transcode
from tests.support import media

QUICK = EncoderSettings(preset="ultrafast", threads=1)
NONE = Disposition(0)


def labelled(path: Path, *tracks: dict[str, str], marks: Disposition = NONE) -> Path:
    """A sound track for each of these sets of tags; `marks` are those of the first."""

    def setup(out: av.container.OutputContainer, video: av.VideoStream) -> None:
        for stream, tags in zip(out.streams.audio, tracks, strict=True):
            stream.metadata.update(tags)
        out.streams.audio[0].disposition = marks

    return media.write(path, media.Clip(frames=5, audio=("aac",) * len(tracks), setup=setup))


def carried(source: Path, target: Path) -> list[str]:
    return [words for words in transcode(str(source), str(target), QUICK)[1].warnings if "loses its" in words]


def tags(path: Path, name: str) -> list[str | None]:
    with av.open(str(path)) as container:
        return [stream.metadata.get(name) for stream in container.streams.audio]


def test_languages_that_mov_knows_by_short_names_come_back_by_their_own(tmp_path: Path) -> None:
    codes = ("hrv", "srp", "deu")
    source = labelled(tmp_path / "in.mkv", *({"language": code} for code in codes))
    assert carried(source, tmp_path / "out.mov") == []
    assert tags(tmp_path / "out.mov", "language") == ["hr ", "sr ", "ger"]
    assert carried(tmp_path / "out.mov", tmp_path / "back.mkv") == []
    assert tags(tmp_path / "back.mkv", "language") == ["hrv", "srp", "ger"]


@pytest.mark.parametrize(
    ("suffix", "lost"),
    [(".mov", ["mri", "en"]), (".mp4", ["en"]), (".ts", ["en"]), (".flv", ["mri", "en", "hrv"]), (".mkv", [])],
)
def test_languages_without_a_code_are_named(suffix: str, lost: list[str], tmp_path: Path) -> None:
    languages = ["mri", "en", "hrv"]
    source, target = labelled(tmp_path / "in.mkv", *({"language": code} for code in languages)), tmp_path / f"o{suffix}"
    words = carried(source, target)
    assert [re.findall(r"language \((.*?)\)", told)[0] for told in words] == lost
    read = {".mov": [None, None, "hr "], ".flv": [None] * 3, ".mkv": languages}
    assert tags(target, "language") == read.get(suffix, ["mri", None, "hrv"])


@pytest.mark.parametrize("kind", ["dub", "original"])  # Matroska does not hold both of one track.
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".m4v", ".3gp", ".ts", ".flv"])
def test_marks_are_read_back_or_named(suffix: str, kind: str, tmp_path: Path) -> None:
    names = (kind, "comment", "forced", "hearing_impaired", "visual_impaired")
    marks = Disposition.default
    for name in names:
        marks |= Disposition[name]
    source, target = labelled(tmp_path / "in.mkv", {}, {}, marks=marks), tmp_path / f"out{suffix}"
    told = " ".join(carried(source, target))
    with av.open(str(target)) as out:
        found = out.streams.audio[0].disposition
    assert [name in told for name in names] == [not found & Disposition[name] for name in names]
    assert ("default" in told) == (suffix in (".ts", ".flv")), "one of two tracks was the usual one"


def test_the_usual_track_is_no_loss_where_there_is_no_other(tmp_path: Path) -> None:
    assert carried(labelled(tmp_path / "in.mkv", {}, marks=Disposition.default), tmp_path / "out.ts") == []


def test_titles_of_tracks_in_movies_stay_their_titles(tmp_path: Path) -> None:
    source = labelled(tmp_path / "in.mkv", {"title": "Boom"}, {"title": "Stage"})
    for suffix, name in ((".mov", "name"), (".MOV", "name"), (".mp4", "name"), (".m4v", "handler_name")):
        assert carried(source, tmp_path / f"out{suffix}") == []
        source = tmp_path / f"out{suffix}"
        assert tags(source, name) == ["Boom", "Stage"]


def test_tags_of_streams_are_kept_or_named(tmp_path: Path) -> None:
    source = labelled(tmp_path / "in.mkv", {"title": "Boom", "COMMENT": "wind", "BPS": "1"})
    assert carried(source, tmp_path / "out.mkv") == []
    assert tags(tmp_path / "out.mkv", "COMMENT") == ["wind"]
    assert ["(COMMENT), which mp4" in words for words in carried(source, tmp_path / "out.mp4")] == [True]
    assert ["(COMMENT, title), which mpegts" in words for words in carried(source, tmp_path / "out.ts")] == [True]
