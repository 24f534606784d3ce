"""Files and recordings of live sinks: where they lie, what a crash leaves, and what a disk does to them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from stream_guard.errors import ConfigError, SinkError
from stream_guard.media import EncoderSettings, LiveOutput, LiveSink, open_live
from stream_guard.media.live import places
from tests.media.feeding import Feed, fed, recorded, times
from tests.support import media
from tests.support.servers import wait_for

pytestmark = pytest.mark.usefixtures("patient")


class TestFiles:
    @pytest.mark.parametrize("form", ["{}", "file:{}", "file://{}", "FILE://localhost{}"])
    def test_a_url_of_a_file_is_opened_at_its_path(self, tmp_path: Path, form: str) -> None:
        name = "a b.ts" if form == "{}" else "a%20b.ts"
        assert places.Place(LiveOutput(form.format(tmp_path / name))).open() == str(tmp_path / "a b.ts")

    def test_a_percent_sign_of_a_path_is_one(self, tmp_path: Path) -> None:
        assert places.Place(LiveOutput(str(tmp_path / "a%20b.ts"))).open() == str(tmp_path / "a%20b.ts")

    def test_a_file_is_on_no_other_host(self) -> None:
        with pytest.raises(ConfigError, match="names no host"):
            places.Place(LiveOutput("file://elsewhere/tmp/a.ts"))


class TestRecording:
    def test_a_recording_never_replaces_another(self, clip: Path, tmp_path: Path) -> None:
        (tmp_path / "r.mkv").write_bytes(b"older")
        with fed(clip, [], record=str(tmp_path / "r.mkv")) as sink:
            wait_for(lambda: sink.report.frames > 10, "frames")
        assert (tmp_path / "r.mkv").read_bytes() == b"older"
        assert len(times(tmp_path / "r-2.mkv", "video")) == sink.report.frames

    def test_an_aborted_recording_stays_as_partial(self, clip: Path, tmp_path: Path) -> None:
        said: list[str] = []
        with open_live(str(clip), allow_files=True) as source:
            record = str(tmp_path / "r.mkv")
            sink = LiveSink(source, [], record=record, on_event=lambda _, words, **__: said.append(words))
        with Feed(clip, sink):
            wait_for(lambda: recorded(sink) > 30, "frames")
        sink.abort()
        assert not (tmp_path / "r.mkv").exists()
        assert len(times(tmp_path / "r.mkv.partial", "video")) > 10
        assert any("kept as" in words for words in said)

    @pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
    def test_a_crash_leaves_what_was_written(self, clip: Path, tmp_path: Path, suffix: str) -> None:
        """The file as it is at any moment, copied while it is written, can be played."""
        partial = tmp_path / f"r{suffix}.partial"
        with fed(clip, [], record=str(tmp_path / f"r{suffix}"), settings=EncoderSettings(gop=25)) as sink:
            wait_for(lambda: sink.report.frames > 120, "120 frames")
            copy = tmp_path / f"copy{suffix}"
            copy.write_bytes(partial.read_bytes())
        assert len(times(copy, "video")) > 40

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
    def test_a_transport_stream_is_recorded_with_sound(self, tmp_path: Path, suffix: str) -> None:
        """Its AAC has no setup beside the packets, and a fragmented MP4 wants one before the first."""
        clip = media.plain(tmp_path, frames=50, suffix=".ts")
        with open_live(str(clip), allow_files=True) as source:
            assert [(a.codec, a.extradata) for a in source.audio] == [("aac", b"")]
        record = tmp_path / f"r{suffix}"
        said: list[str] = []
        with open_live(str(clip), allow_files=True) as source:
            sink = LiveSink(source, [], record=str(record), on_event=lambda _, words, **__: said.append(words))
        assert any("encoded anew as aac" in words for words in said) == (suffix == ".mp4")
        with contextlib.closing(sink), Feed(clip, sink):
            wait_for(lambda: sink.report.frames > 60, "frames")
        assert len(times(record, "video")) == sink.report.frames
        assert len(times(record, "audio")) > 40
        assert not list(tmp_path.glob("r-*"))

    def test_a_recording_that_others_took_away_is_said_to_be_lost(self, tmp_path: Path) -> None:
        recording = places.Recording(str(tmp_path / "r.mkv"))
        recording.open()
        assert recording.done(clean=False) == "", "it was never made"
        partial = Path(recording.open())
        partial.touch()
        partial.unlink()
        with pytest.raises(SinkError, match="taken away while it was written"):
            recording.done(clean=True)

    def test_a_recording_that_was_cut_off_waits_for_room(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where others free a little again and again, each attempt would leave a file of a picture or two."""
        free = 0
        monkeypatch.setattr(places.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
        recording = places.Recording(str(tmp_path / "r.mkv"))
        Path(recording.open()).touch()
        recording.done(clean=False)
        first = recording.open()
        assert first.endswith("r.mkv.partial"), "an empty one left nothing"
        Path(first).write_bytes(b"pictures")
        assert "is kept" in recording.done(clean=False)
        with pytest.raises(SinkError, match="less than 16 MiB of the disk are free"):
            recording.open()
        assert recording.done(clean=False) == ""
        free = places.ROOM_BYTES
        assert recording.open().endswith("r-2.mkv.partial")

    def test_a_full_disk_fails_the_recording_only(self, clip: Path, tmp_path: Path) -> None:
        if not os.path.exists("/dev/full"):
            pytest.skip("needs /dev/full")
        os.symlink("/dev/full", tmp_path / "full.ts")
        outputs = [LiveOutput(str(tmp_path / "full.ts")), LiveOutput(str(tmp_path / "good.ts"))]
        with fed(clip, outputs) as sink:
            wait_for(lambda: "No space" in str(sink.outputs[0]["error"]), "the disk to be full")
            wait_for(lambda: sink.report.frames > 30, "frames")
        assert len(times(tmp_path / "good.ts", "video")) == sink.report.frames
