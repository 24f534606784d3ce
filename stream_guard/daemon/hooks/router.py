"""POST /hooks/NAME."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from ..control import MissingError
from .messages import Answer, Call
from .service import Hooks

MOST_BYTES = 16384
"""Largest body of a call."""
OF_BROWSERS = ("origin", "sec-fetch-site", "sec-fetch-mode", "cookie")
"""Headers that no media server sends: a web page must not be able to call the hooks of the machine it is seen on."""


def hooks_router(hooks: Hooks) -> APIRouter:
    """A router with POST /hooks/{name}. It asks for no bearer token: each hook checks its own secret."""
    router = APIRouter(tags=["hooks"])

    @router.post("/hooks/{name}", include_in_schema=False)
    async def hook(name: str, request: Request) -> Response:
        answer = await _answer(hooks, name, request)
        return Response(answer.body, answer.status, dict(answer.headers), answer.media_type)

    return router


async def _answer(hooks: Hooks, name: str, request: Request) -> Answer:
    if any(header in request.headers for header in OF_BROWSERS):
        return Answer(403, b"hooks are for media servers, not for web pages")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            return Answer(413, f"a call has at most {MOST_BYTES} bytes".encode())
    call = Call(body, dict(request.headers), tuple(request.query_params.multi_items()))
    try:
        return await run_in_threadpool(hooks.handle, name, call)
    except MissingError as error:
        return Answer(404, str(error).encode())
