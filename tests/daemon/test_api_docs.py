"""docs/api.md: its commands work as they stand, and it tells of every route and status."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from stream_guard.daemon.api import describe
from stream_guard.daemon.jobs.signing import sign
from tests.daemon.api_server import TOKENS, WRITE, running
from tests.support.control_fake import FakeControl

PAGE = Path(__file__).resolve().parents[2] / "docs/api.md"


def test_the_examples_run(tmp_path: Path) -> None:
    if which("curl") is None:
        pytest.skip("needs curl")
    commands = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    control = FakeControl()
    for number in range(20):
        control.tell("phase", f"message {number}", stream="studio")
    control.closed = True  # its event streams end at once
    with running(control, tokens=TOKENS) as api:
        environment = {**os.environ, "GUARD": api.server.url, "TOKEN": WRITE, "no_proxy": "*"}
        run = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert run.returncode == 0, run.stdout + run.stderr
    assert (tmp_path / "studio.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert '"outcome":"aborted"' in run.stdout
    assert control.streams() == []
    assert len(control.jobs()) == 1


def test_every_route_is_described() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for path, methods in describe()["paths"].items():
        for method, operation in methods.items():
            assert f"`{method.upper()} {path}`" in text
            assert operation["summary"]
            assert operation["description"]
            assert all(parameter["description"] for parameter in operation.get("parameters", []))


def test_no_page_of_the_framework_asks_the_network() -> None:
    with running() as api:
        assert {api.http.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")} == {404}
        assert api.http.get("/v1/openapi.json").json() == describe()


def test_a_receiver_can_check_a_webhook_by_the_page_alone() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    known: dict[str, Any] = {}
    exec(code, known)
    body = b'{"id": "1"}'
    assert known["genuine"](sign(body, "secret"), body, "secret")
    assert not known["genuine"](sign(body, "other"), body, "secret")
    assert not known["genuine"](sign(body, "secret", now=1.0), body, "secret")
