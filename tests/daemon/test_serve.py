"""`stream-guard serve` as a process: what it says, how it reloads, how it ends, and what is left when it is killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_guard.daemon.serving import FileWatch

from .support import PATIENCE, children, is_alive, until

ABSENT = "rtmp://127.0.0.1:9/live/secretkey"
"""Nobody listens there: the stream goes on trying."""


def config(folder: Path, *names: str, more: str = "") -> Path:
    """A file with these streams, written whole."""
    streams = "".join(
        f"  - {{name: {name}, source: '{ABSENT}', outputs: [{{url: 'rtmp://127.0.0.1:9/out/secretout'}}]}}\n"
        for name in names
    )
    text = f"""state_dir: {folder}/state
http: {{port: 0}}
urls: {{hosts: [127.0.0.1]}}
drain_seconds: 5
{more}streams:{" []" if not names else ""}
{streams}"""
    path = folder / "guard.yaml"
    (folder / "new").write_text(text)
    (folder / "new").replace(path)
    return path


class Served:
    """A running `stream-guard serve`."""

    def __init__(self, folder: Path, path: Path) -> None:
        self._log = folder / "log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stream_guard", "serve", "--config", str(path)], stderr=log, stdout=log
            )
        until(lambda: self.process.poll() is not None or "listening on" in self.log, "the daemon to listen")
        found = re.search(r"listening on (http://\S+?);", self.log)
        assert found, self.log
        self.url = found[1]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def get(self, path: str) -> str:
        try:
            with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.read().decode()

    def streams(self) -> dict[str, float]:
        """Names, and when each was started."""
        return {stream["name"]: stream["started"] for stream in json.loads(self.get("/v1/streams"))}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for pid in children():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        pytest.fail(f"process {pid} was left")


def test_it_serves_reloads_and_drains(folder: Path) -> None:
    path = config(folder, "one", "two")
    served = Served(folder, path)
    until(lambda: json.loads(served.get("/readyz"))["ready"], "the engine", within=180)
    before = served.streams()
    assert set(before) == {"one", "two"}
    config(folder, "one", "three")
    until(lambda: set(served.streams()) == {"one", "three"}, "the reload")
    assert served.streams()["one"] == before["one"]
    path.write_text("strems: []\n")
    until(lambda: "unknown key 'strems'" in served.log, "the refused reload")
    assert "stream_guard_configuration_reload_success 0.0" in served.get("/metrics")
    assert set(served.streams()) == {"one", "three"}
    path.write_text("streams: " + "[" * 1500)
    until(lambda: "more than 64 deep" in served.log, "the next refused reload")
    assert set(served.streams()) == {"one", "three"}
    config(folder, "one", "three")
    served.process.send_signal(signal.SIGHUP)
    until(lambda: "stream_guard_configuration_reload_success 1.0" in served.get("/metrics"), "the good reload")
    workers = children(served.process.pid)
    assert workers
    shown = served.get("/metrics") + served.get("/v1/streams")
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(PATIENCE) == 0
    assert served.log.endswith("stopped\n")
    assert not any(is_alive(pid) for pid in workers)
    assert "secret" not in shown + served.log


def test_a_change_and_the_signal_after_it_are_one_reload(tmp_path: Path) -> None:
    path = tmp_path / "guard.yaml"
    path.write_text("{}")
    watch = FileWatch(path)
    path.write_text("streams: []")
    assert not watch.changed()
    watch.read()  # on the signal
    assert not watch.changed()
    path.write_text("streams: [] # and more")
    assert [watch.changed() for _ in range(3)] == [False, True, False]


def test_a_killed_daemon_leaves_no_worker(folder: Path) -> None:
    served = Served(folder, config(folder, "one", "two"))
    until(lambda: len(children(served.process.pid)) >= 2, "the workers")
    workers = children(served.process.pid)
    served.process.kill()
    served.process.wait()
    until(lambda: not any(is_alive(pid) for pid in workers), "the workers to end")


def test_a_second_signal_ends_it_at_once(folder: Path) -> None:
    served = Served(folder, config(folder, "one"))
    until(lambda: json.loads(served.get("/v1/streams/one"))["phase"] != "starting", "the worker to be bound to us")
    until(lambda: json.loads(served.get("/readyz"))["ready"], "the engine", within=180)
    workers = children(served.process.pid)
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)  # so that draining cannot end
    served.process.send_signal(signal.SIGTERM)
    until(lambda: "stopping" in served.log, "the drain")
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(PATIENCE) == -signal.SIGTERM
    until(lambda: not any(is_alive(pid) for pid in workers), "the workers to end")


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "stream_guard", "serve", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_check_tells_good_from_bad(folder: Path) -> None:
    code, said = run("--check", STREAM_GUARD_CONFIG=str(config(folder, "one")))
    assert (code, said) == (0, f"stream-guard: {folder}/guard.yaml: good; 1 stream, 0 hooks\n")
    code, said = run("--check", "--config", str(config(folder, more="drain_second: 3\nlog_level: loud\n")))
    assert code == 2
    assert "guard.yaml:5:1: unknown key 'drain_second'; did you mean 'drain_seconds'?" in said
    assert "guard.yaml:6:1: log_level: got 'loud'" in said
    code, said = run("--check", "--config", str(config(folder, more="log_level: !!bool maybe\n")))
    assert code == 2
    assert "guard.yaml:5:12: not valid YAML: this cannot be read as a value of the kind 'bool'" in said


def test_a_port_in_use_starts_nothing(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, said = run("--config", str(config(folder, "one")), STREAM_GUARD__HTTP__PORT=port)
    assert code == 2
    assert f"127.0.0.1:{port}" in said
    assert "choose another http.address or http.port" in said


def test_a_state_folder_that_cannot_be_used_is_named(folder: Path) -> None:
    code, said = run("--config", str(config(folder)), STREAM_GUARD__STATE_DIR="/proc/nowhere")
    assert code == 2
    assert "'/proc/nowhere' cannot be used" in said
    (folder / "used").mkdir()
    (folder / "used/segments").touch()
    code, said = run("--config", str(config(folder)), STREAM_GUARD__STATE_DIR=str(folder / "used"))
    assert code == 2
    assert "used/segments' cannot be used: File exists" in said


def test_a_missing_extra_is_named(folder: Path) -> None:
    (folder / "fastapi.py").write_text("raise ModuleNotFoundError(\"No module named 'fastapi'\", name='fastapi')\n")
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH", ""))))
    code, said = run("--check", PYTHONPATH=path)
    assert code == 2
    assert said == "stream-guard: error: the daemon needs the package 'fastapi': pip install 'stream-guard[serve]'\n"


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_a_real_prometheus_scrapes_it(folder: Path) -> None:
    served = Served(folder, config(folder, "one"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    target = served.url.removeprefix("http://")
    jobs = f"[{{job_name: guard, static_configs: [{{targets: ['{target}']}}]}}]"
    (folder / "prometheus.yml").write_text(f"global: {{scrape_interval: 1s}}\nscrape_configs: {jobs}\n")
    command = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("w") as log:
        prometheus = subprocess.Popen(command, stdout=log, stderr=log)

    def found(query: str) -> list[dict[str, object]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={query}", timeout=10) as answer:
                return list(json.loads(answer.read())["data"]["result"])
        except OSError:
            time.sleep(0.2)
            return []

    try:
        until(lambda: found("up==1"), "the scrape")
        until(lambda: found('stream_guard_active_streams{stream="one"}==1'), "the stream's own series", within=120)
        assert found("stream_guard_build_info")
    finally:
        prometheus.terminate()
        prometheus.wait()
        served.process.terminate()
        served.process.wait()
