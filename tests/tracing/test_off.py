"""Off is off: nothing is imported, every call is answered; a mistake in the environment is said."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stream_guard import otlp
from stream_guard.errors import ConfigError
from stream_guard.otlp import check_endpoint, traced, with_path
from stream_guard.tracing import OFF

from ..support.fakes import frame
from .kept import asked


@pytest.mark.parametrize("wanted", [None, {}, {"endpoint": "", "stream": "x"}])
def test_without_an_endpoint_it_is_off(wanted: dict[str, str] | None) -> None:
    with traced(wanted, pytest.fail) as tracing:
        assert tracing is OFF


def test_a_mistake_in_the_environment_is_said_and_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1")
    said: list[str] = []
    with asked("http://127.0.0.1:9", said) as tracing:
        assert tracing is OFF
    assert said == ["there are no traces: ValueError while OpenTelemetry was set up"]


@pytest.mark.parametrize(
    "endpoint", ["collector:4318", "grpc://collector:4317", "http://", "http://a:port", "http://["]
)
def test_an_endpoint_that_is_no_http_url_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="http or https URL") as raised:
        check_endpoint(endpoint)
    assert endpoint not in str(raised.value).replace("http://127.0.0.1:4318", "")


def test_paths_of_endpoints() -> None:
    assert with_path("http://there:4318") == with_path("http://there:4318/") == "http://there:4318/v1/traces"
    assert with_path("https://there/otlp/v1/traces?a=b") == "https://there/otlp/v1/traces?a=b"


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'stream-guard\[otel\]'"):
        check_endpoint("http://127.0.0.1:4318")
    said: list[str] = []
    with asked("http://127.0.0.1:4318", said) as tracing:
        assert tracing is OFF
    assert len(said) == 1
    assert "stream-guard[otel]" in said[0]


ABSENT = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
"""
OFF_CODE = """
import sys, threading
from tests.support.fakes import FakeSink, FakeSource, FindOne, ProtectAll, frame, pipeline, spec
import stream_guard.daemon.worker, stream_guard.daemon.live_worker, stream_guard.daemon.jobs.work, stream_guard.cli
from stream_guard.pipeline import run
from stream_guard.otlp import traced
with traced({}, print) as tracing:
    sink = FakeSink()
    run(pipeline(spec(FindOne), spec(ProtectAll)), FakeSource([frame(0)]), lambda: sink, tracing=tracing)
assert len(sink.frames) == 1
loaded = [name for name in sys.modules if name.startswith("opentelemetry")]
assert not loaded, loaded
"""
MISSING_CODE = """
from stream_guard.otlp import traced
from stream_guard.tracing import OFF
with traced({"endpoint": "http://127.0.0.1:4318"}, print) as tracing:
    assert tracing is OFF
"""


@pytest.mark.parametrize("before", ["", ABSENT], ids=["installed", "absent"])
def test_off_imports_nothing_of_opentelemetry(before: str) -> None:
    done = subprocess.run([sys.executable, "-c", before + OFF_CODE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_on_without_the_packages_the_work_goes_on() -> None:
    done = subprocess.run([sys.executable, "-c", ABSENT + MISSING_CODE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "stream-guard[otel]" in done.stdout


def test_what_is_off_answers_every_call() -> None:
    shown = frame(0)
    OFF.came_in(shown, 0.0)
    OFF.part(shown, "find", 0.0, 1.0)
    OFF.judged(shown, None)
    OFF.went_out(shown)
    OFF.dropped(0, "late")
    OFF.phase("job")
    with OFF.lasting("join"):
        OFF.lasted("segment", 0.0)
    OFF.close()
    assert vars(OFF) == {}
