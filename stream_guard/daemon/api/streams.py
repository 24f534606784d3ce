"""Live streams: list, start, change, stop, look."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from ..control import ConflictError, StreamState
from ..settings import StreamSettings
from .asking import RULES, Daemon, Name

router = APIRouter(prefix="/v1/streams", tags=["streams"], dependencies=RULES)
Kind = Annotated[Literal["original", "protected", "difference"], Query(description="Which picture")]
JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.get("", summary="All streams")
def list_streams(daemon: Daemon) -> list[StreamState]:
    """Those of the configuration, of the API and of the ingest hooks, each with its counts."""
    return daemon.streams()


@router.post("", status_code=201, summary="Start a stream")
def start_stream(settings: StreamSettings, daemon: Daemon, response: Response) -> StreamState:
    """409 where the name is taken, 503 with Retry-After where there is no headroom for one more."""
    state = daemon.start_stream(settings, "api")
    response.headers["Location"] = f"/v1/streams/{state.name}"
    return state


@router.get("/{name}", summary="One stream")
def get_stream(name: Name, daemon: Daemon) -> StreamState:
    """Its phase, counts, outputs and error. URLs are cut down."""
    return daemon.stream(name)


@router.put("/{name}", summary="Start a stream, or start it anew with other settings")
def put_stream(name: Name, settings: StreamSettings, daemon: Daemon) -> StreamState:
    """A running one of that name is drained first; else 503 without headroom. The body's name must be the path's."""
    if settings.name != name:
        raise ConflictError(f"the path says {name} and the body says {settings.name}; give both the same name")
    return daemon.replace_stream(settings)


@router.delete("/{name}", summary="Stop a stream")
def stop_stream(name: Name, daemon: Daemon) -> StreamState:
    """Drains and removes it. 409 for a stream of the configuration file: take it out there."""
    return daemon.stop_stream(name)


@router.get("/{name}/snapshot", response_class=Response, responses=JPEG, summary="The newest picture")
def snapshot(name: Name, daemon: Daemon, kind: Kind = "protected") -> Response:
    """A JPEG: as it came, as it left, or the difference of both, made visible. 404 where there is none yet."""
    return Response(daemon.snapshot(name, kind), media_type="image/jpeg")
