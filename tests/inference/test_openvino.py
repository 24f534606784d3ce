"""What comes with OpenVINO and is not wanted."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADING = """
import multiprocessing.process as process, socket, sys

def refused(*words, **named):
    raise SystemExit("it tells somebody of itself")

process.BaseProcess.start = socket.socket.connect = refused
import stream_guard.inference.openvino_session
import openvino
openvino.Core()
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
"""


def test_nobody_is_told_that_it_was_loaded() -> None:
    """OpenVINO's own package for that forks a process, which opens a connection to Google Analytics."""
    pytest.importorskip("openvino_telemetry")
    run = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
