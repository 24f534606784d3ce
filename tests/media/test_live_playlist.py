"""What lies beside a playlist: names that nobody takes for another's, and nothing that is of no use any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_guard.errors import ConfigError
from stream_guard.media import LiveOutput, LiveSink, open_live
from stream_guard.media.live import output as live_output
from stream_guard.media.live import places
from tests.media.feeding import state
from tests.media.live import frames_of
from tests.support import media
from tests.support.servers import wait_for


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.plain(tmp_path_factory.mktemp("clip"), frames=50, suffix=".mkv")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each run were a process of its own, which has time for what it is given."""
    monkeypatch.setattr(live_output, "QUEUE_SECONDS", 60.0)
    monkeypatch.setattr(places, "_BEGUN", set())


def _run(clip: Path, playlist: Path, *, for_good: bool = True, **options: str) -> None:
    """One segment."""
    with (
        open_live(str(clip), allow_files=True) as source,
        LiveSink(source, [LiveOutput(str(playlist), options=tuple(options.items()))]) as sink,
    ):
        source._pacer = None
        wait_for(lambda: state(sink) == "open", "the playlist to be open")
        for frame in frames_of(source, 10):
            sink.write(frame)
        sink.close(60, for_good=for_good)
    places._BEGUN.clear()


def _beside(playlist: Path) -> set[str]:
    return {path.name for path in playlist.parent.iterdir()} - {playlist.name}


def _segments(playlist: Path) -> list[str]:
    return [line for line in playlist.read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("flag", ["single_file", "delete_segments+second_level_segment_index"])
def test_flags_that_cannot_work_are_refused(flag: str) -> None:
    with pytest.raises(ConfigError, match="hls_flags, which cannot work here"):
        places.check_places([LiveOutput("/v/x.m3u8", options=(("hls_flags", flag),))], "")


def test_names_of_segments_mean_nothing_in_a_url(clip: Path, tmp_path: Path) -> None:
    """A player would ask for `a`, for a host, or for another name."""
    for stem in ("#a?b:c d", "a%20b", "a=20b"):
        _run(clip, tmp_path / f"{stem}.m3u8", hls_segment_type="fmp4")
    names = ["=23a=3Fb=3Ac=20d", "a=2520b", "a=3D20b"]
    made = {path.name for path in tmp_path.iterdir() if path.suffix != ".m3u8"}
    assert made == {f"{name}{end}" for name in names for end in ("_0.m4s", "-init-0.mp4")}


def test_a_playlist_that_begins_anew_takes_no_name_that_caches_hold(clip: Path, tmp_path: Path) -> None:
    """It ended, and another stream is to be had there: nothing of the old one is left beside it."""
    playlist = tmp_path / "x.m3u8"
    for number in range(2):
        _run(clip, playlist, hls_segment_type="fmp4")
        assert _segments(playlist) == [f"x_{number}.m4s"]
        assert _beside(playlist) == {f"x_{number}.m4s", f"x-init-{number}.mp4"}


def test_what_runs_before_left_behind_is_deleted(clip: Path, tmp_path: Path) -> None:
    """A window of two over five runs, of which each opened the files anew; what is others' stays."""
    playlist = tmp_path / "x.m3u8"
    others = {"x-0.ts", "x_a_0.m4s", "x-2.ts", "y_0.m4s"}
    for name in others:
        (tmp_path / name).touch()
    for _ in range(5):
        _run(clip, playlist, for_good=False, hls_segment_type="fmp4", hls_list_size="2")
    assert _segments(playlist) == ["x_3.m4s", "x_4.m4s"]
    assert _beside(playlist) - others == {"x_3.m4s", "x_4.m4s", "x-init-3.mp4", "x-init-4.mp4"}
    assert others < _beside(playlist)


def test_a_playlist_that_keeps_all_loses_nothing(clip: Path, tmp_path: Path) -> None:
    playlist = tmp_path / "x.m3u8"
    for _ in range(2):
        _run(clip, playlist, hls_list_size="0")
    assert _beside(playlist) == {"x_0.ts", "x_1.ts"}


def test_an_init_file_goes_when_its_last_segment_has_left_the_playlist(tmp_path: Path) -> None:
    """One playlist later: a player may still hold the one before."""
    playlist = tmp_path / "x.m3u8"
    text = '#EXTM3U\n#EXT-X-MAP:URI="{}"\n#EXTINF:2,\n{}\n'
    playlist.write_text(text.format("x-init-0.mp4", "x_0.m4s"))
    (tmp_path / "x-init-0.mp4").touch()
    files = places.HlsFiles(str(playlist), goes_on=True, keeps=False)
    (tmp_path / files.init).touch()
    there = []
    for number in (0, 1, 2):
        init = "x-init-0.mp4" if number == 0 else files.init
        files.sweep(text.format(init, f"x_{number}.m4s").encode())
        there.append((tmp_path / "x-init-0.mp4").exists())
    assert (tmp_path / files.init).exists()
    assert there == [True, True, False]
