"""Is it alive, is it ready, and what does it count."""

from __future__ import annotations

from fastapi import APIRouter, Response, Security
from fastapi.responses import PlainTextResponse

from ..control import Health
from .answers import Answer
from .asking import Daemon, documented

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
router = APIRouter(tags=["probes"])


@router.get("/livez", response_class=PlainTextResponse, summary="Whether the process answers")
async def livez() -> str:
    """Needs no token. A failing engine or source does not change it: restart the process only when this fails."""
    return "ok\n"


@router.get(
    "/readyz",
    dependencies=[Security(documented)],
    response_model=Health,
    responses={503: {"model": Health, "description": "Not ready; `reasons` says why"}},
    summary="Whether streams can be protected",
)
def readyz(daemon: Daemon) -> Response:
    """503 while the engine is loading or failed, while one is built without which nothing runs, and while the daemon
    drains. While a faster one is built beside another backend, 200 with `engine: building`."""
    health = daemon.health()
    return Answer(health.model_dump(mode="json"), 200 if health.ready else 503)


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    dependencies=[Security(documented)],
    summary="All metrics in Prometheus' text format",
)
def metrics(daemon: Daemon) -> Response:
    """The supervisor's own and every worker's. docs/metrics.md lists them."""
    return Response(daemon.metrics(), media_type=METRICS_TYPE)
