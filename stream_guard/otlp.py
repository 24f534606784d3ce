"""Spans by OpenTelemetry to an OTLP/HTTP endpoint; needs the extra `otel`. Nothing else imports it, and that only late.

An endpoint that is away or refuses never reaches the caller: spans are dropped, and it is said once.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import __version__
from .errors import ConfigError, ExitCode, StreamGuardError
from .tracing import NONE, OFF, Attributes, Recording, Tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

PATH = "/v1/traces"
EXPORT_SECONDS = 3.0
"""How long one batch may take, with all its attempts."""
FLUSH_SECONDS, LEAVE_SECONDS = 2.0, 0.5
"""How long the spans that are left may take at the end, and an attempt that is then called off."""
SET_SECONDS = 0.01
WAITING_SPANS = 2048
SERVICE = "stream-guard"


def check_endpoint(endpoint: str) -> None:
    """Raises ConfigError for what is no HTTP URL, and where the extra is missing. The endpoint itself is not shown."""
    try:
        parts = urlsplit(endpoint)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise ConfigError("tracing needs an http or https URL with a host, such as http://127.0.0.1:4318")
    if not _installed():
        raise ConfigError(
            "tracing needs the packages opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http: "
            "pip install 'stream-guard[otel]'"
        )


def _installed() -> bool:
    try:
        return all(find_spec(name) for name in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"))
    except ModuleNotFoundError:
        return False


@contextmanager
def traced(asked: Mapping[str, str] | None, say: Callable[[str], None]) -> Iterator[Tracing]:
    """Tracing while the block runs, as `asked`: `endpoint`, and `stream` as the metrics label it. OFF without it.

    `say` is told, once, when spans cannot be sent; never more than FLUSH_SECONDS are lost at the end.
    """
    tracing = _opened(asked, say)
    try:
        yield tracing
    except BaseException as exc:
        stopped = isinstance(exc, StreamGuardError) and exc.exit_code is ExitCode.STOPPED
        tracing.phase("", "" if stopped else type(exc).__name__)
        raise
    finally:
        tracing.close()


def _opened(asked: Mapping[str, str] | None, say: Callable[[str], None]) -> Tracing:
    if not asked or not asked.get("endpoint"):
        return OFF
    try:
        check_endpoint(asked["endpoint"])
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(with_path(asked["endpoint"]), timeout=EXPORT_SECONDS)
        return Recording(OtelSpans(exporter, asked.get("stream", ""), say))
    except ConfigError as exc:
        say(f"there are no traces: {exc}")
    except Exception as exc:  # such as a mistake in the environment's OTEL_ variables; the work must go on
        say(f"there are no traces: {type(exc).__name__} while OpenTelemetry was set up")
    return OFF


def with_path(endpoint: str) -> str:
    """The URL of traces; an endpoint without a path gets the usual one."""
    parts = urlsplit(endpoint)
    return endpoint if parts.path not in ("", "/") else parts._replace(path=PATH).geturl()


class OtelSpans:
    """`Spans` of an SDK of our own: nothing global is set."""

    def __init__(self, exporter: SpanExporter, stream: str, say: Callable[[str], None]) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named: dict[str, str | int] = {
            "service.name": SERVICE,
            "service.version": __version__,
            "process.pid": os.getpid(),
        }
        if stream:
            named["stream_guard.stream"] = stream
        self._quiet, self._epoch_ns = _Silence(), _WallClock()
        self._exporter = _guarded(exporter, say)
        self._provider = TracerProvider(resource=Resource.create({**named}), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter, max_queue_size=WAITING_SPANS))
        self._tracer = self._provider.get_tracer(SERVICE, __version__)

    def begin(self, name: str, started: float, parent: Any = None, link: Any = None) -> Any:
        from opentelemetry.context import Context
        from opentelemetry.trace import Link, set_span_in_context

        context = Context() if parent is None else set_span_in_context(parent, Context())
        links = [] if link is None else [Link(link.get_span_context())]
        return self._tracer.start_span(name, context, links=links, start_time=self._epoch_ns(started))

    def end(self, span: Any, ended: float, error: str = "", attributes: Attributes = NONE) -> None:
        from opentelemetry.trace import Status, StatusCode

        span.set_attributes(dict(attributes))
        if error:
            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR))
        span.end(self._epoch_ns(ended))

    def close(self) -> None:
        """The SDK itself would wait for half a minute."""
        flushing = threading.Thread(target=self._provider.shutdown, name="stream-guard-traces", daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)
        if flushing.is_alive():
            self._exporter.shutdown()  # ends the wait for another attempt
            flushing.join(LEAVE_SECONDS)
        if flushing.is_alive():
            self._exporter.failed("")
        else:
            self._quiet.end()


class _WallClock:
    """Times of `perf_counter` since 1970; follows the machine's clock where that is set, and only then."""

    def __init__(self) -> None:
        self._offset_ns = self._now_ns()

    def __call__(self, moment: float) -> int:
        now = self._now_ns()
        if abs(now - self._offset_ns) > SET_SECONDS * 1e9:
            self._offset_ns = now
        return self._offset_ns + int(moment * 1e9)

    def _now_ns(self) -> int:
        return time_ns() - perf_counter_ns()


class _Silence:
    """OpenTelemetry's own log says each failed attempt, with the endpoint: we say it once and without."""

    def __init__(self) -> None:
        self._log = logging.getLogger("opentelemetry")
        self._before = self._log.level
        self._log.setLevel(logging.CRITICAL + 1)

    def end(self) -> None:
        self._log.setLevel(self._before)


def _guarded(inner: SpanExporter, say: Callable[[str], None]) -> Any:
    """An exporter around `inner` that says its first failure; `failed(why)` is one. Its base class is imported late."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Once(SpanExporter):
        said = ended = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            try:
                result = inner.export(spans)
            except Exception as exc:
                return self.failed(f" ({type(exc).__name__})")
            return result if result is SpanExportResult.SUCCESS else self.failed("")

        def shutdown(self) -> None:
            if not self.ended:
                self.ended = True
                inner.shutdown()

        def failed(self, why: str) -> SpanExportResult:
            if not self.said:
                self.said = True
                say(f"spans could not be sent to the endpoint of metrics.tracing{why}; they are dropped while it is so")
            return SpanExportResult.FAILURE

    return Once()
