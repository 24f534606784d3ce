"""Webhooks at a real HTTP server on loopback: signed, tried again, kept over a restart, and led nowhere else."""

from __future__ import annotations

import base64
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_guard.daemon.jobs import WorkerExit, webhooks
from stream_guard.daemon.jobs.runner import JobRunner
from stream_guard.daemon.jobs.signing import HEADER, verify
from stream_guard.daemon.jobs.store import JobStore
from stream_guard.daemon.settings import JobSettings, JobsSection, Urls
from stream_guard.daemon.urls import check_url
from stream_guard.errors import ConfigError
from stream_guard.metrics import DAEMON_METRICS, Metrics

from .support import until

SECRET = "a secret"


class Receiver(http.server.ThreadingHTTPServer):
    """Answers with the statuses of `answers`, the last one for ever; keeps what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = [200]
        self.came: list[tuple[str, dict[str, str], bytes]] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?token=hidden"

    def end(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append((self.path, dict(self.headers), body))
        answers = self.server.answers
        status = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing on the console."""


class Done:
    """A worker that is done at once, with the given exit codes."""

    def stop(self) -> None:
        """It has ended."""

    def kill(self) -> None:
        """It has ended."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.end()


class Told:
    """A runner whose workers end at once with `codes`."""

    def __init__(self, folder: Path, codes: list[int]) -> None:
        self.metrics = Metrics(of=DAEMON_METRICS)
        self.codes = codes
        self.store = JobStore(folder / "jobs.sqlite3")
        section = JobsSection(webhook_secret=SECRET)
        urls = Urls(hosts=("127.0.0.0/8",))
        (folder / "segments").mkdir(exist_ok=True)
        self.runner = JobRunner(
            self.store, self.spawn, section, folder=folder / "segments", metrics=self.metrics, urls=lambda: urls
        )
        self.runner.start()

    def spawn(self, kind: str, spec: Any, tell: Any, ended: Callable[[WorkerExit], None]) -> Done:
        threading.Thread(target=ended, args=(WorkerExit(self.codes.pop(0)),)).start()
        return Done()

    def submit(self, url: str, **more: Any) -> str:
        return self.runner.submit(JobSettings(source="/in.mp4", output="/out.mp4", webhook=url, **more))[0].id

    def count(self, outcome: str) -> float:
        name = "stream_guard_webhook_deliveries_total"
        return self.metrics.registry.get_sample_value(name, {"outcome": outcome}) or 0.0

    def close(self) -> None:
        self.runner.close()
        self.store.close()


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Told]]:
    monkeypatch.setattr(webhooks, "FIRST_WAIT_SECONDS", 0.02)
    monkeypatch.setattr(webhooks, "LONGEST_WAIT_SECONDS", 0.1)
    made: list[Told] = []

    def build(*codes: int) -> Told:
        made.append(Told(tmp_path, list(codes)))
        return made[-1]

    yield build
    for one in made:
        one.close()


def test_the_end_of_a_job_is_told_and_signed(told: Callable[..., Told], receiver: Receiver) -> None:
    runner = told(0)
    name = runner.submit(receiver.url)
    until(lambda: runner.count("delivered") == 1, "the delivery")
    ((path, headers, body),) = receiver.came
    assert path == "/hook?token=hidden"
    assert verify(headers[HEADER], body, SECRET)
    assert not verify(headers[HEADER], body, "another")
    assert headers["Host"] == f"127.0.0.1:{receiver.server_port}"
    message = json.loads(body)
    assert message["event"] == "job.ended"
    assert message["job"]["id"] == name
    assert message["job"]["outcome"] == "completed"
    assert "hidden" not in body.decode()


def test_a_name_and_password_of_the_url_are_sent(told: Callable[..., Told], receiver: Receiver) -> None:
    runner = told(0)
    runner.submit(receiver.url.replace("://", "://me:p%40ss@"))
    until(lambda: runner.count("delivered") == 1, "the delivery")
    ((path, headers, _),) = receiver.came
    assert path == "/hook?token=hidden"
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()


def test_failed_attempts_are_told_if_asked(told: Callable[..., Told], receiver: Receiver, monkeypatch: Any) -> None:
    from stream_guard.daemon.jobs import outcomes

    monkeypatch.setattr(outcomes, "FIRST_WAIT_SECONDS", 0.02)
    runner = told(1, 0, 1, 0)
    runner.submit(receiver.url, webhook_on="attempts")
    until(lambda: len(receiver.came) == 2, "both deliveries")
    assert [json.loads(body)["event"] for _, _, body in receiver.came] == ["job.attempt_failed", "job.ended"]
    runner.submit(receiver.url)
    until(lambda: len(receiver.came) == 3, "only the end")
    until(lambda: runner.count("delivered") == 3, "its answer")
    assert json.loads(receiver.came[2][2])["event"] == "job.ended"


def test_a_receiver_in_trouble_is_asked_again_with_the_same_words(
    told: Callable[..., Told], receiver: Receiver
) -> None:
    receiver.answers = [500, 302, 404, 204]
    runner = told(0)
    runner.submit(receiver.url)
    until(lambda: runner.count("delivered") == 1, "the delivery")
    assert len({body for _, _, body in receiver.came}) == 1
    assert [path for path, _, _ in receiver.came] == ["/hook?token=hidden"] * 4
    assert runner.count("retried") == 3


def test_a_receiver_that_never_takes_it_is_given_up(
    told: Callable[..., Told], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "ATTEMPTS", 3)
    receiver.answers = [503]
    runner = told(0)
    runner.submit(receiver.url)
    until(lambda: runner.count("given_up") == 1, "the end of patience")
    assert len(receiver.came) == 3


def test_a_delivery_survives_a_restart(
    told: Callable[..., Told], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "ATTEMPTS", 10**6)  # it is not given up before the restart, however slow that is
    receiver.answers = [500]
    first = told(0)
    first.submit(receiver.url)
    until(lambda: receiver.came, "an attempt")
    first.close()
    receiver.answers = [200]
    second = told()
    until(lambda: second.count("delivered") == 1, "the delivery")
    assert len({body for _, _, body in receiver.came}) == 1


@pytest.fixture
def hanging() -> Iterator[str]:
    """The URL of a receiver that takes what comes and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def test_a_receiver_that_hangs_keeps_the_others_not_waiting(
    told: Callable[..., Told], receiver: Receiver, hanging: str
) -> None:
    runner = told(*[0] * 9)
    for _ in range(8):
        runner.submit(hanging)
    runner.submit(receiver.url)
    until(lambda: runner.count("delivered") == 1, "the delivery")
    assert runner.count("retried") == 0


def test_the_end_of_the_daemon_does_not_wait_for_a_receiver_that_hangs(
    told: Callable[..., Told], hanging: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "CLOSE_SECONDS", 0.05)
    sent = threading.Event()

    def post(*given: Any) -> int:
        sent.set()
        return webhooks.SUCCESS[0] if over.wait(30) else 500

    over = threading.Event()
    monkeypatch.setattr(webhooks, "post", post)
    first = told(0)
    first.submit(hanging)
    assert sent.wait(30)
    first.close()
    over.set()
    left = JobStore(tmp_path / "jobs.sqlite3")
    assert webhooks.Deliveries(left).due() == 0
    left.close()


def test_forbidden_urls_are_refused_when_a_job_comes(told: Callable[..., Told]) -> None:
    runner = told()
    for url in ("http://169.254.169.254/latest", "ftp://127.0.0.1/", "http://10.0.0.1/", "file:///etc/passwd"):
        with pytest.raises(ConfigError):
            runner.submit(url)


def test_the_checked_address_is_connected_to_whatever_the_name_says_now(receiver: Receiver) -> None:
    def resolve(host: str, port: int, **_: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    urls = Urls(hosts=("rebinding.example",))
    target = check_url(f"http://rebinding.example:{receiver.server_port}/x", urls, "webhook", resolve)
    assert webhooks.post(target, b"{}", {"Content-Type": "application/json"}) == 200
    assert receiver.came[0][1]["Host"] == f"rebinding.example:{receiver.server_port}"


@pytest.mark.parametrize("drips", [False, True])
def test_a_receiver_that_does_not_answer_is_left(drips: bool) -> None:
    """Neither silence nor a byte now and then holds the thread for long."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.settimeout(0.05)
                while drips and not over.wait(0.05):
                    try:
                        peer.send(b"H")
                    except OSError:
                        return
                over.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        target = check_url(f"http://127.0.0.1:{server.getsockname()[1]}/", Urls(hosts=("127.0.0.1",)), "webhook")
        try:
            with pytest.raises((OSError, webhooks.http.client.HTTPException)):
                webhooks.post(target, b"{}", {}, timeout=0.2)
        finally:
            over.set()
            thread.join()


def test_tls_is_verified_against_the_name(tmp_path: Path) -> None:
    """A server without a certificate that we trust is not told anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        said: list[bytes] = []

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                said.append(peer.recv(4096))

        thread = threading.Thread(target=serve)
        thread.start()
        target = check_url(f"https://127.0.0.1:{server.getsockname()[1]}/", Urls(hosts=("127.0.0.1",)), "webhook")
        with pytest.raises(OSError):  # noqa: PT011
            webhooks.post(target, b"the secret body", {}, timeout=5)
        thread.join()
    assert said
    assert b"secret" not in said[0]
