"""A receiver of OTLP over HTTP on loopback: it keeps the spans that come, or refuses them, or does not answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Received:
    """A span as it came over the wire; ids are hex, times nanoseconds since 1970."""

    name: str
    trace: str
    id: str
    parent: str
    links: tuple[str, ...]
    started: int
    ended: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Receiver:
    status: int = 200
    silent: bool = False
    spans: list[Received] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    raw: bytes = b""
    requests: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def named(self, name: str) -> list[Received]:
        return [span for span in list(self.spans) if span.name == name]

    def take(self, path: str, body: bytes) -> None:
        self.requests += 1
        self.paths.add(path)
        self.raw += body
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = values(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [received(span, resource) for span in scope.spans]


def values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def received(span: Any, resource: dict[str, Any]) -> Received:
    return Received(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        tuple(link.span_id.hex() for link in span.links),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == 2,
        values(span.attributes),
        resource,
    )


@contextmanager
def receiver(*, status: int = 200, silent: bool = False) -> Iterator[Receiver]:
    """Runs on a port of its own; `silent` takes a request and answers only at the end."""
    here = Receiver(status, silent)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            here.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            if here.silent:
                here.released.wait(60)
            try:
                self.send_response(here.status)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:  # the other side has gone
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    here.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield here
    finally:
        here.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
