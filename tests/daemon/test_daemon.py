"""The daemon over worker processes without media: restarts, replacing, draining, reloading, and what it counts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_guard.daemon import admission
from stream_guard.daemon.control import ConflictError, MissingError, RefusedError, StreamState
from stream_guard.daemon.daemon import Daemon
from stream_guard.daemon.settings import DaemonSettings, JobSettings, StreamSettings
from stream_guard.errors import ConfigError
from stream_guard.inference import zoo_folder

from .support import FAKE, children, is_alive, open_files, until


def stream(name: str, word: str = "run", **changes: Any) -> dict[str, Any]:
    """The settings of a stream whose worker behaves as `word` says."""
    return {
        "name": name,
        "source": f"rtmp://127.0.0.1/live/{word}",
        "outputs": [{"url": "rtmp://127.0.0.1/protected/secretkey"}],
        "backoff": {"first": 0.05, "most": 0.1},
        **changes,
    }


def settings(folder: Path, *streams: dict[str, Any], **changes: Any) -> DaemonSettings:
    return DaemonSettings.model_validate(
        {
            "state_dir": str(folder),
            "urls": {"hosts": ["127.0.0.1"]},
            "admission": {"cpu_headroom": 0, "memory_headroom": 0},
            "streams": streams,
            **changes,
        }
    )


Make = Callable[..., Daemon]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Starts daemons with the given streams and sections; ends them, and sees that nothing is left."""
    made: list[Daemon] = []

    def _make(*streams: dict[str, Any], **changes: Any) -> Daemon:
        daemon = Daemon(settings(tmp_path, *streams, **changes), FAKE)
        made.append(daemon)
        daemon.start()
        return daemon

    yield _make
    for daemon in made:
        daemon.close()
    assert not children()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stream-guard")]


def phase(daemon: Daemon, name: str, *phases: str) -> StreamState:
    """The stream's state once it is in one of the phases."""
    until(lambda: daemon.stream(name).phase in phases, f"{name} to be {' or '.join(phases)}")
    return daemon.stream(name)


def samples(daemon: Daemon) -> dict[str, float]:
    """The page of metrics: line without value, value."""
    lines = [line for line in daemon.metrics().decode().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


FRAMES = 'stream_guard_frames_in_total{stream="one"}'


def restarts(daemon: Daemon, reason: str) -> float:
    return samples(daemon).get(f'stream_guard_worker_restarts_total{{reason="{reason}"}}', 0.0)


def worker_pid(daemon: Daemon, name: str) -> int:
    handle = daemon._streams._streams[name].handle
    assert handle is not None
    assert handle.process is not None
    return handle.process.pid


def test_a_killed_worker_is_restarted_and_its_counts_stay(make: Make) -> None:
    daemon = make(stream("one"))
    phase(daemon, "one", "running")
    until(lambda: samples(daemon).get(FRAMES) == 5, "the first worker's count")
    os.kill(worker_pid(daemon, "one"), signal.SIGKILL)
    until(lambda: daemon.stream("one").restarts == 1, "the restart")
    assert samples(daemon)[FRAMES] == 5
    assert 'stream_guard_queue_frames{queue="decoded",stream="one"}' not in samples(daemon)
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
    assert "given up (1 restarts within 300 s)" in state.error
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


def test_a_stream_of_the_api_writes_where_it_was_checked(make: Make, tmp_path: Path) -> None:
    daemon = make(urls={"hosts": ["127.0.0.1"], "file_roots": [str(tmp_path)]})
    outputs = [{"url": f"file://localhost{tmp_path}/a%20b.ts"}]
    daemon.start_stream(StreamSettings.model_validate(stream("one", outputs=outputs, record=f"FILE:{tmp_path}/c.mkv")))
    chosen = daemon._streams._streams["one"].settings
    assert (chosen.outputs[0].url, chosen.record) == (f"{tmp_path}/a b.ts", f"{tmp_path}/c.mkv")


PIPELINE = "name: own\nstages:\n  - faces:\n  - disrupt:\n"


def test_a_request_names_no_pipeline_outside_the_file_roots(make: Make, tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    for folder in (root, other):
        (folder / "own.yaml").write_text(PIPELINE)
    secret = other / "secret.yaml"
    secret.write_text("hunter2: yes\n")
    (root / "link.yaml").symlink_to(secret)
    os.mkfifo(root / "pipe.yaml")
    (root / "in.mp4").touch()
    own = other / "own.yaml"
    urls = {"hosts": ["127.0.0.1"], "file_roots": [str(root)]}
    daemon = make(stream("mine", pipeline=str(own)), urls=urls, jobs={"workers": 0})

    def start(name: str, pipeline: object) -> None:
        daemon.start_stream(StreamSettings.model_validate(stream(name, pipeline=str(pipeline))))

    def submit(pipeline: object) -> None:
        files = {"source": str(root / "in.mp4"), "output": str(root / "out.mp4")}
        daemon.submit(JobSettings.model_validate({**files, "pipeline": str(pipeline)}))

    for pipeline in (secret, root / "link.yaml", root / "pipe.yaml", "own.yaml", "/dev/stdin"):
        with pytest.raises(ConfigError, match=r"^pipeline: .*file_roots") as refused:
            start("two", pipeline)
        assert "hunter2" not in str(refused.value)
        with pytest.raises(ConfigError, match=r"^pipeline: .*file_roots"):
            submit(pipeline)
    for name, pipeline in (("two", "live"), ("three", root / "own.yaml"), ("four", own)):  # the file names `own`
        start(name, pipeline)
        submit("protect" if pipeline == "live" else pipeline)


def engines_in(root: Path, other: Path) -> Path:
    """Engines and calibrations below `root`, some of which lead elsewhere; returns a secret file in `other`."""
    for path in (root / "engine", root / "linked", root / "leads", other):
        path.mkdir(parents=True)
    secret = other / "secret.toml"
    secret.write_text('hunter2 = "yes"\n')
    shutil.copy(zoo_folder() / "disrupter/model.onnx", root / "engine")
    card = (zoo_folder() / "disrupter/card.toml").read_text()
    (root / "engine/card.toml").write_text(card)
    (root / "leads/card.toml").write_text(card.replace('"model.onnx"', f'"{other}/model.onnx"'))
    (root / "linked/card.toml").symlink_to(secret)
    (root / "link").symlink_to(other)
    (root / "beside").symlink_to(root / "engine")
    calibration = (zoo_folder() / "magdr/magdr.toml").read_text()
    (root / "magdr.toml").write_text(calibration)
    (root / "other.toml").write_text(calibration.replace('"perturbation"', f'"{other}/engine"'))
    (root / "own.yaml").write_text(PIPELINE.replace("disrupt:", f"disrupt: {{engine: {secret}}}"))
    (root / "in.mp4").touch()
    return secret


def test_a_request_names_no_engine_outside_the_file_roots(make: Make, tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    secret = engines_in(root, other)
    own = {"disrupt.engine": str(other / "own")}
    daemon = make(
        stream("mine", options=own), urls={"hosts": ["127.0.0.1"], "file_roots": [str(root)]}, jobs={"workers": 0}
    )

    def start(name: str, **changes: Any) -> None:
        daemon.start_stream(StreamSettings.model_validate(stream(name, **changes)))

    def submit(**changes: Any) -> None:
        output = "" if changes.get("kind") == "screen" else str(root / "out.mp4")
        daemon.submit(JobSettings.model_validate({"source": str(root / "in.mp4"), "output": output, **changes}))

    def refusal(ask: Callable[..., None], *args: Any, **changes: Any) -> str:
        with pytest.raises(ConfigError, match=r"^options: [\w*]+\.\w+: .*file_roots") as refused:
            ask(*args, **changes)
        return str(refused.value)

    for engine in (secret, root / "link/own", root / "linked", root / "leads", "secret.toml", "../x.onnx", "~/x"):
        options = {"disrupt.engine": str(engine)}
        assert "hunter2" not in refusal(start, "two", options=options)
        assert "hunter2" not in refusal(submit, options=options)
    there = refusal(submit, options={"faces.detector": str(secret)})
    assert there == refusal(submit, options={"faces.detector": str(secret.with_name("none.toml"))})
    for calibration in (secret, "secret", root / "other.toml"):
        assert "hunter2" not in refusal(submit, kind="screen", options={"magdr.calibration": str(calibration)})
    for option in ("*.engine", "detect.engine", "magdr.parser"):
        refusal(submit, kind="screen", options={option: str(secret)})
    refusal(start, "two", pipeline=str(root / "own.yaml"))
    refusal(submit, pipeline=str(root / "own.yaml"))

    for name, engine in (("two", "disrupter-int8"), ("three", root / "beside"), ("four", other / "own")):
        start(name, options={"disrupt.engine": str(engine)})  # the configuration itself names the last
        submit(options={"disrupt.engine": str(engine)})
    submit(kind="screen", options={"magdr.calibration": str(root / "magdr.toml")})
    assert asked_by(daemon, "three")["disrupt.engine"] == str(root / "engine"), "the real path is opened"


def asked_by(daemon: Daemon, name: str) -> dict[str, Any]:
    """The options with which a stream runs."""
    return daemon._streams._streams[name].settings.options


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


def test_a_full_daemon_refuses_with_a_reason(make: Make) -> None:
    daemon = make(stream("one"), admission={"max_streams": 1, "cpu_headroom": 0, "memory_headroom": 0})
    with pytest.raises(RefusedError, match=r"1 streams run and admission\.max_streams is 1"):
        daemon.start_stream(StreamSettings.model_validate(stream("two")))
    assert samples(daemon)['stream_guard_admissions_refused_total{reason="streams"}'] == 1
    daemon.admission = admission.Admission(
        daemon.settings.admission.model_copy(update={"max_streams": 0, "memory_headroom": 1 << 60})
    )
    with pytest.raises(RefusedError, match="no memory for one more stream"):
        daemon.start_stream(StreamSettings.model_validate(stream("two")))
    with pytest.raises(RefusedError, match="no memory"):
        daemon._admit_job()
    assert samples(daemon)['stream_guard_admissions_refused_total{reason="memory"}'] == 2


def test_a_failed_stream_is_put_anew_only_where_there_is_room(make: Make) -> None:
    daemon = make(admission={"max_streams": 1, "cpu_headroom": 0, "memory_headroom": 0})
    daemon.start_stream(StreamSettings.model_validate(stream("failed", "fail")))
    phase(daemon, "failed", "failed")
    daemon.start_stream(StreamSettings.model_validate(stream("one")))
    for name in ("failed", "new"):
        with pytest.raises(RefusedError, match=r"admission\.max_streams is 1"):
            daemon.replace_stream(StreamSettings.model_validate(stream(name)))
    daemon.replace_stream(StreamSettings.model_validate(stream("one", stall=9.0)))
    until(lambda: daemon._streams._streams["one"].settings.stall == 9.0, "the one that runs to be replaced")


def test_a_reload_replaces_only_what_changed(make: Make, tmp_path: Path) -> None:
    daemon = make(stream("same"), stream("changed"), stream("gone"))
    for name in ("same", "changed", "gone"):
        phase(daemon, name, "running")
    since = daemon.stream("same").started
    new = settings(tmp_path, stream("same"), stream("changed", stall=9.0), stream("fresh"))
    assert daemon.reload(lambda: new)
    until(lambda: {s.name for s in daemon.streams()} == {"same", "changed", "fresh"}, "the new streams")
    for name in ("same", "changed", "fresh"):
        phase(daemon, name, "running")
    assert daemon.stream("same").started == since
    assert daemon._streams._streams["changed"].settings.stall == 9.0
    assert samples(daemon)["stream_guard_configuration_reload_success"] == 1


def test_a_reload_tries_failed_streams_again(make: Make, tmp_path: Path) -> None:
    daemon = make(stream("one", "fail"), stream("two", "end"))
    first = phase(daemon, "one", "failed").started
    phase(daemon, "two", "ended")
    assert daemon.reload(lambda: settings(tmp_path, stream("one", "fail"), stream("two", "end")))
    assert daemon.stream("one").started > first
    phase(daemon, "one", "failed")
    assert daemon.stream("two").phase == "ended"


def test_a_worker_does_not_see_the_configuration(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_GUARD__JOBS__WEBHOOK_SECRET", "hidden")
    daemon = make(stream("one"))
    phase(daemon, "one", "running")
    pid = worker_pid(daemon, "one")
    assert b"hidden" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert b"secretkey" not in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize("error", [ConfigError("x.yaml:3:1: unknown key 'strems'"), KeyError("nobody foresaw this")])
def test_a_bad_reload_keeps_the_old_and_says_why(
    make: Make, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    daemon = make(stream("one"))
    phase(daemon, "one", "running")

    def bad() -> DaemonSettings:
        raise error

    assert not daemon.reload(bad)
    assert daemon.stream("one").phase == "running"
    assert str(error) in caplog.text
    assert ("Traceback" in caplog.text) == isinstance(error, KeyError)
    assert samples(daemon)["stream_guard_configuration_reload_success"] == 0
    daemon.drain()
    told = [event for event in daemon.events() if event is not None and event.kind == "configuration"]
    assert [event.data for event in told] == [{"success": False}]


def test_ready_once_the_engine_was_loaded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = make()
    until(lambda: daemon.health().ready, "the engine")
    assert daemon.health().engine == "ready"
    assert samples(daemon)['stream_guard_daemon_engine_state{state="ready"}'] == 1


def test_an_engine_that_cannot_be_loaded_is_told_until_a_stream_proves_it(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FAKE_PROBE", "the engine's file is damaged")
    daemon = make()
    until(lambda: daemon.health().engine == "failed", "the failure")
    assert daemon.health().reasons == ["the engine's file is damaged"]
    assert not daemon.health().ready
    daemon.start_stream(StreamSettings.model_validate(stream("one")))
    until(lambda: daemon.health().ready, "the stream that runs with it")


def test_ready_while_a_faster_engine_is_built_beside_one_that_works(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "the engine of disrupt is being built for this GPU, 40% done; streams run on openvino meanwhile"
    monkeypatch.setenv("FAKE_BUILDS", json.dumps([[False, "it begins"], [True, words]]))
    daemon = make()
    until(lambda: daemon.health().reasons == [words], "the build")
    assert (daemon.health().ready, daemon.health().engine) == (True, "building")
    assert samples(daemon)['stream_guard_daemon_engine_state{state="building"}'] == 1
    daemon.start_stream(StreamSettings.model_validate(stream("one")))
    phase(daemon, "one", "running")
    until(lambda: daemon.health().ready, "readiness")
    assert daemon.health().engine == "building", "a stream that runs does not hide the build"


def test_not_ready_while_the_only_engine_is_built(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_BUILDS", json.dumps([[False, "the engine of disrupt is being built"]]))
    daemon = make()
    until(lambda: daemon.health().engine == "building", "the build")
    assert not daemon.health().ready
    assert daemon.health().reasons == ["the engine of disrupt is being built"]


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
