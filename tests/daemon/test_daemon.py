"""The daemon over worker processes without media: restarts, replacing, draining, and what it counts."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from stream_guard.daemon.control import ConflictError, MissingError, RefusedError
from stream_guard.daemon.settings import StreamSettings
from stream_guard.errors import ConfigError

from .fake_daemon import Make, phase, restarts, samples, stream, worker_pid
from .support import children, is_alive, open_files, until

FRAMES = 'stream_guard_frames_in_total{stream="one"}'


def test_the_counts_of_a_killed_worker_stay_while_it_is_away(make: Make) -> None:
    daemon = make(stream("one", backoff={"first": 600, "most": 600}))
    phase(daemon, "one", "running")
    until(lambda: samples(daemon).get(FRAMES) == 5, "the worker's count")
    os.kill(worker_pid(daemon, "one"), signal.SIGKILL)
    until(lambda: daemon.stream("one").restarts == 1, "the end of the worker")
    assert samples(daemon)[FRAMES] == 5
    assert 'stream_guard_queue_frames{queue="decoded",stream="one"}' not in samples(daemon)


def test_a_killed_worker_is_restarted_and_counts_go_on(make: Make) -> None:
    daemon = make(stream("one"))
    phase(daemon, "one", "running")
    until(lambda: samples(daemon).get(FRAMES) == 5, "the first worker's count")
    os.kill(worker_pid(daemon, "one"), signal.SIGKILL)
    until(lambda: samples(daemon).get(FRAMES) == 10, "the second worker's count on top")
    assert samples(daemon)['stream_guard_frame_latency_seconds_count{stream="one"}'] == 2
    assert samples(daemon)['stream_guard_frame_latency_seconds_bucket{le="0.025",stream="one"}'] == 2
    assert restarts(daemon, "crashed") == 1
    assert phase(daemon, "one", "running").error == ""


def test_a_worker_that_others_ask_to_end_is_restarted(make: Make) -> None:
    daemon = make(stream("one"))
    phase(daemon, "one", "running")
    os.kill(worker_pid(daemon, "one"), signal.SIGTERM)
    until(lambda: restarts(daemon, "failed") == 1, "the restart")
    phase(daemon, "one", "running")


@pytest.mark.parametrize(
    ("word", "changes", "reason", "words"),
    [
        ("exit", {}, "failed", "ended with the code 1"),
        ("segv", {}, "crashed", "SIGSEGV"),
        ("bomb", {"limits": {"memory": 200 * 1024**2}}, "memory", "limits.memory"),
    ],
)
def test_a_worker_that_keeps_dying_is_given_up_loudly(
    make: Make, caplog: pytest.LogCaptureFixture, word: str, changes: dict[str, Any], reason: str, words: str
) -> None:
    daemon = make(stream("one", word, restarts=1, **changes), stream("beside"))
    state = phase(daemon, "one", "failed")
    assert state.error.count(words) == 1, "the last end alone is told, not those before it"
    assert "given up (1 restart within 300 s)" in state.error
    assert restarts(daemon, reason) == 1
    assert samples(daemon)["stream_guard_streams_given_up_total"] == 1
    assert samples(daemon)['stream_guard_streams{phase="failed"}'] == 1
    assert "given up" in caplog.text
    phase(daemon, "beside", "running")


@pytest.mark.parametrize(("word", "last", "words"), [("end", "ended", ""), ("fail", "failed", "no luck")])
def test_a_stream_that_ends_by_itself_is_not_restarted(make: Make, word: str, last: str, words: str) -> None:
    daemon = make(stream("one", word))
    assert words in phase(daemon, "one", "ended", "failed").error
    assert daemon.stream("one").phase == last
    assert daemon.stream("one").restarts == 0


def test_cpu_time_that_is_used_up_ends_the_stream(make: Make) -> None:
    daemon = make(stream("one", "spin", limits={"cpu": 1}))
    assert "limits.cpu" in phase(daemon, "one", "failed").error


def test_streams_come_and_go_over_the_api(make: Make) -> None:
    daemon = make(stream("fixed"))
    started = daemon.start_stream(StreamSettings.model_validate(stream("one")))
    assert started.origin == "api"
    assert phase(daemon, "one", "running").outputs == ["rtmp://127.0.0.1/protected/..."]
    assert daemon.snapshot("one", "protected") == b"JPEG"
    with pytest.raises(ConfigError, match="has screen: true and outputs"):
        daemon.start_stream(StreamSettings.model_validate(stream("two", screen=True)))
    with pytest.raises(ConfigError, match="'timeout' makes FFmpeg listen"):
        daemon.start_stream(StreamSettings.model_validate(stream("two", source_options={"timeout": "6"})))
    with pytest.raises(ConflictError, match="runs already"):
        daemon.start_stream(StreamSettings.model_validate(stream("one")))
    with pytest.raises(ConflictError, match="configuration file"):
        daemon.stop_stream("fixed")
    with pytest.raises(ConfigError, match=r"urls\.hosts"):
        daemon.start_stream(StreamSettings.model_validate(stream("two", source="rtmp://10.1.2.3/live/x")))
    with pytest.raises(MissingError, match="streams: fixed, one"):
        daemon.stop_stream("two")
    pid = worker_pid(daemon, "one")
    daemon.replace_stream(StreamSettings.model_validate(stream("one", stall=9.0)))
    until(lambda: daemon.stream("one").phase == "running", "the replacement")
    assert daemon.stop_stream("one").phase == "draining"
    until(lambda: len(daemon.streams()) == 1, "the stream to go")
    until(lambda: not is_alive(pid), "the replaced worker to be gone")
    with pytest.raises(MissingError, match="no stream"):
        daemon.snapshot("one", "original")


def test_a_playlist_that_another_stream_writes_is_refused(make: Make, tmp_path: Path) -> None:
    daemon = make(urls={"hosts": ["127.0.0.1"], "file_roots": [str(tmp_path)]})
    outputs = [{"url": f"{tmp_path}/x.m3u8"}]
    one, two = (StreamSettings.model_validate(stream(name, outputs=outputs)) for name in ("one", "two"))
    daemon.start_stream(one)
    for begin in (daemon.start_stream, daemon.replace_stream):
        with pytest.raises(ConflictError, match="'one' writes the same playlist"):
            begin(two)
    assert daemon.replace_stream(one).name == "one"


def test_a_file_that_takes_the_playlist_of_a_stream_of_the_api_is_not_read(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Unless it takes the stream's name, and so its place."""
    daemon = make(urls={"hosts": ["127.0.0.1"], "file_roots": [str(tmp_path)]})
    outputs = [{"url": f"{tmp_path}/x.m3u8"}]
    daemon.start_stream(StreamSettings.model_validate(stream("one", outputs=outputs)))

    def reload(name: str) -> bool:
        written = StreamSettings.model_validate(stream(name, outputs=outputs))
        return daemon.reload(lambda: daemon.settings.model_copy(update={"streams": (written,)}))

    assert not reload("two")
    assert "the stream 'one' that was started by request writes the playlist" in caplog.text
    assert reload("one")


def _playlists(folder: Path, *names: str) -> dict[str, Path]:
    """Such as a worker left that was killed."""
    made = {name: folder / f"{name}.m3u8" for name in names}
    for path in made.values():
        path.write_text("#EXTM3U\n")
    return made


def test_the_playlist_of_a_stream_that_is_not_started_again_is_ended(make: Make, tmp_path: Path) -> None:
    """Of one that failed for good, and of one whose worker had to be killed: players would wait for ever."""
    paths = _playlists(tmp_path, "fail", "exit", "deaf", "gone")
    streams = [stream(word, word, outputs=[{"url": str(path)}], restarts=1) for word, path in paths.items()]
    daemon = make(*streams, drain_seconds=0.5)
    phase(daemon, "deaf", "running")
    one = StreamSettings.model_validate({**streams[2], "outputs": [{"url": f"{tmp_path}/other.ts"}]})
    daemon._streams.follow([one, *map(StreamSettings.model_validate, streams[:2])], 0.5)
    for name, path in paths.items():
        until(lambda path=path: "#EXT-X-ENDLIST" in path.read_text(), f"the end of the playlist of {name}")


def test_the_playlist_of_a_stream_of_the_file_goes_on_with_the_next_daemon(make: Make, tmp_path: Path) -> None:
    paths = _playlists(tmp_path, "one", "two")
    one, two = (stream(name, outputs=[{"url": str(path)}]) for name, path in paths.items())
    daemon = make(one, urls={"hosts": ["127.0.0.1"], "file_roots": [str(tmp_path)]})
    daemon.start_stream(StreamSettings.model_validate(two))
    phase(daemon, "one", "running")
    phase(daemon, "two", "running")
    daemon.drain()
    until(lambda: "#EXT-X-ENDLIST" in paths["two"].read_text(), "the end of what the API started")
    assert paths["one"].read_text() == "#EXTM3U\n"


def test_a_publisher_who_comes_back_at_once_is_taken(make: Make) -> None:
    daemon = make()
    again = StreamSettings.model_validate(stream("one"))
    daemon.start_stream(again, "hook")
    phase(daemon, "one", "running")
    daemon.stop_stream("one")
    daemon.start_stream(again, "hook")
    until(lambda: daemon.stream("one").phase == "running", "the second stream")
    assert daemon.stream("one").restarts == 0


def test_a_stream_that_does_not_stop_is_killed_after_its_time(make: Make) -> None:
    daemon = make(drain_seconds=0.5)
    daemon.start_stream(StreamSettings.model_validate(stream("one", "deaf")))
    phase(daemon, "one", "running")
    daemon.stop_stream("one")
    until(lambda: not daemon.streams(), "the stream to go")


def test_draining_ends_every_stream_and_takes_no_more(make: Make) -> None:
    daemon = make(stream("one"), stream("two"))
    phase(daemon, "one", "running")
    phase(daemon, "two", "running")
    daemon.drain()
    assert not daemon.streams()
    assert not [worker for worker in daemon._supervisor.processes() if worker[0] == "live"]
    with pytest.raises(RefusedError, match="stopping"):
        daemon.start_stream(StreamSettings.model_validate(stream("three")))
    health = daemon.health()
    assert not health.ready
    assert health.draining
    kinds = [event.kind for event in daemon.events() if event is not None]
    assert "draining" in kinds


def test_a_worker_does_not_see_the_configuration(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_GUARD__JOBS__WEBHOOK_SECRET", "hidden")
    daemon = make(stream("one"))
    phase(daemon, "one", "running")
    pid = worker_pid(daemon, "one")
    assert b"hidden" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert b"secretkey" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_worker_inherits_no_secret_that_the_file_names(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not one that a later file names; what programs look at themselves, and what nobody names, it has."""
    for name in ("FIRST_KEY", "LATER_KEY", "OTEL_WORD", "PLUGIN_WORD"):
        monkeypatch.setenv(name, f"value-of-{name}")
    daemon = make(stream("one"), variables=frozenset({"FIRST_KEY", "OTEL_WORD", "PATH"}))
    phase(daemon, "one", "running")
    first = Path(f"/proc/{worker_pid(daemon, 'one')}/environ").read_bytes()
    assert b"value-of-FIRST_KEY" not in first
    assert all(word in first for word in (b"value-of-LATER_KEY", b"value-of-OTEL_WORD", b"value-of-PLUGIN_WORD"))
    assert b"\0PATH=" in b"\0" + first
    daemon.reload(lambda: daemon.settings.naming(frozenset({"LATER_KEY"})))
    daemon.start_stream(StreamSettings.model_validate(stream("two")))
    phase(daemon, "two", "running")
    assert b"value-of-LATER_KEY" not in Path(f"/proc/{worker_pid(daemon, 'two')}/environ").read_bytes()


def test_what_leaves_unprotected_is_a_warning_in_the_log(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    make(stream("one", "bare"))
    until(lambda: "pictures left unprotected" in caplog.text, "the event")
    (line,) = [line for line in caplog.records if "left unprotected" in line.getMessage()]
    assert line.levelname == "WARNING"


def test_no_key_of_a_url_is_told(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    daemon = make()
    secret = "rtmp://user:pass1234@127.0.0.1/live/usage?token=abcdef"
    daemon.start_stream(StreamSettings.model_validate(stream("one", source=secret)))
    phase(daemon, "one", "running", "failed")
    daemon.stop_stream("one")
    daemon.drain()
    shown = caplog.text + repr([*daemon.events(), daemon.streams()]) + daemon.metrics().decode()
    assert "rtmp://127.0.0.1/live/..." in shown
    for part in ("pass1234", "abcdef", "secretkey"):
        assert part not in shown


def test_thirty_streams_come_and_go_and_leave_nothing(make: Make) -> None:
    daemon = make()
    until(lambda: daemon.health().ready, "the engine")

    def cycle(count: int) -> None:
        for number in range(count):
            daemon.start_stream(StreamSettings.model_validate(stream(f"s{number}")))
        for number in range(count):
            phase(daemon, f"s{number}", "running")
            daemon.stop_stream(f"s{number}")
        until(lambda: not daemon.streams(), "the streams to go")

    cycle(2)
    before = open_files()
    for _ in range(7):
        cycle(4)
    assert open_files() == before
    assert not children()
