"""What a request to the daemon may name, and whether there is room for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_guard.daemon import admission
from stream_guard.daemon.control import RefusedError
from stream_guard.daemon.daemon import Daemon
from stream_guard.daemon.settings import JobSettings, StreamSettings
from stream_guard.errors import ConfigError
from stream_guard.inference import zoo_folder

from .fake_daemon import Make, phase, samples, stream
from .support import until


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


def test_a_full_daemon_refuses_with_a_reason(make: Make) -> None:
    daemon = make(stream("one"), admission={"max_streams": 1, "cpu_headroom": 0, "memory_headroom": 0})
    with pytest.raises(RefusedError, match=r"1 stream runs and admission\.max_streams is 1"):
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
