"""One shape for every answer that is not what was asked for, and the status that goes with each error."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from ...errors import MediaError, StreamGuardError, UsageError
from ..control import ConflictError, MissingError, RefusedError
from .access import EVENTS
from .words import clean


class Problem(BaseModel):
    where: str = Field(description="The key, such as body.limits.width")
    message: str


class ErrorWords(BaseModel):
    code: str = Field(description="For programs: one of a few fixed words")
    message: str = Field(description="For people")
    allowed: list[str] | None = Field(None, description="What would have been accepted, where that is a short list")
    what_to_do: str | None = None
    problems: list[Problem] | None = Field(None, description="Every mistake in the request, each with its place")


class ErrorAnswer(BaseModel):
    """What every status from 400 on answers with (`/readyz` excepted, which answers with Health)."""

    error: ErrorWords


class Answer(JSONResponse):
    """JSON from which secrets of URLs have been cut."""

    def render(self, content: Any) -> bytes:
        return super().render(clean(content))


CODES = {
    400: "bad_request",
    401: "token_needed",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    413: "body_too_large",
    415: "json_needed",
    422: "invalid",
    429: "too_many",
    500: "internal",
    503: "unavailable",
}
"""Each status that the API uses, and its code."""

DOCUMENTED: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": code.replace("_", " ").capitalize()}
    for status, code in CODES.items()
    if status != 500
}


def error(
    status: int,
    message: str,
    what_to_do: str | None = None,
    *,
    allowed: Sequence[str] | None = None,
    problems: list[Problem] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    words = ErrorWords(
        code=CODES.get(status, "error"),
        message=message,
        allowed=None if allowed is None else list(allowed),
        what_to_do=what_to_do,
        problems=problems,
    )
    return Answer(ErrorAnswer(error=words).model_dump(exclude_none=True), status, dict(headers or {}))


def install(app: FastAPI) -> None:
    """Let every error of ours, of the framework and of the validation end in the one shape."""
    app.add_exception_handler(StreamGuardError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)


def _ours(request: Request, exc: Exception) -> Answer:
    if isinstance(exc, RefusedError):
        seconds = str(exc.retry_after_seconds)
        return error(503, str(exc), f"ask again in {seconds} s", headers={"Retry-After": seconds})
    if isinstance(exc, MissingError):
        return error(404, str(exc))
    if isinstance(exc, ConflictError):
        return error(409, str(exc))
    if isinstance(exc, (UsageError, MediaError)):
        return error(422, str(exc))
    return error(503, str(exc), "look at /readyz and the log", headers={"Retry-After": "10"})


def _framework(request: Request, exc: Exception) -> Answer:
    known = exc if isinstance(exc, HTTPException) else HTTPException(500)
    status, headers = known.status_code, known.headers or {}
    if status == 404:
        return error(404, f"there is nothing at {request.url.path}", "GET /v1/openapi.json lists what there is")
    if status == 405:
        methods = _methods(request) or headers.get("Allow", "GET").split(", ")
        allow = {"Allow": ", ".join(methods)}
        return error(405, f"{request.method} is not possible here", allowed=methods, headers=allow)
    return error(status, str(known.detail), headers=headers)


def _methods(request: Request) -> list[str]:
    """Of every route with this path; the framework's own answer names those of the first only."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    here = request.url.path
    found = [verbs for path, verbs in paths.items() if re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", path), here)]
    verbs = {verb.upper() for verbs in found for verb in verbs}
    return sorted(verbs | {"HEAD"} if "GET" in verbs and here != EVENTS else verbs)


def _invalid(request: Request, exc: Exception) -> Answer:
    """Says where and what is wrong; what was sent is not repeated, for it may hold a stream key."""
    found = exc.errors() if isinstance(exc, RequestValidationError) else []
    if any(mistake["type"] == "json_invalid" for mistake in found):
        return error(400, "the body is not valid JSON", "send one JSON object")
    problems = [Problem(where=_where(mistake["loc"]), message=mistake["msg"]) for mistake in found]
    message = "; ".join(f"{problem.where}: {problem.message}" for problem in problems[:3])
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    expected = found[0].get("ctx", {}).get("expected") if len(found) == 1 else None
    allowed = re.findall(r"'([^']*)'", expected) if isinstance(expected, str) else None
    return error(422, message + more, "GET /v1/openapi.json says what is allowed", allowed=allowed, problems=problems)


def _where(location: Sequence[Any]) -> str:
    """`body.outputs.0.url`; a part that is not a plain word is left out, for it is the sender's own text."""
    return ".".join(str(part) if re.fullmatch(r"[A-Za-z0-9_-]{1,40}", str(part)) else "..." for part in location)
