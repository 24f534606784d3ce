"""A stop signal is survived after models of OpenVINO have come and gone, in whatever order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

WORDS = """
import ctypes, signal
from stream_guard.inference import find_engine, open_session
from stream_guard.inference.signal_stack import _Stack

def stack():
    found = _Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
    return found.sp, found.flags, found.size

def stop(number, frame):
    raise KeyboardInterrupt

before = stack()
signal.signal(signal.SIGTERM, stop)
sessions = [open_session(find_engine(None, kind), "openvino") for kind in ("disrupter", "detector")]
assert stack() == before, "after opening"
for session in sessions:
    session.close()
assert stack() == before, "after closing"
try:
    signal.raise_signal(signal.SIGTERM)
except KeyboardInterrupt:
    print("survived")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the structure is Linux's")
def test_a_signal_is_survived_after_models_went_in_the_order_they_came() -> None:
    pytest.importorskip("openvino")
    known = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", WORDS], env=known, timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr
