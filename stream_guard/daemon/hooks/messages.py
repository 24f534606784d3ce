"""What media servers say and are told, whatever their dialect."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

from ...errors import StreamGuardError
from ..settings import HookSettings

Fields = tuple[tuple[str, str], ...]
"""Decoded names and values of a query, in order."""


class HookError(StreamGuardError):
    """A call that is not of the dialect: 400."""


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request of a media server. Holds secrets, so nothing of it is printed."""

    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Names in lower case."""
    query: Fields = field(default=(), repr=False)
    """Of the hook's own URL."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody publishes or plays: `live/key?token=…` is app `live`, name `key` and the query's fields."""

    app: str
    name: str = field(repr=False)
    query: Fields = field(default=(), repr=False)
    client: str = ""
    """The server's id of the connection; empty where it tells none."""


@dataclass(frozen=True, slots=True)
class Publish:
    place: Place
    starts: bool = True
    """False where the server only asks for leave and tells later that the stream is there."""


@dataclass(frozen=True, slots=True)
class Unpublish:
    place: Place


@dataclass(frozen=True, slots=True)
class Play:
    place: Place


@dataclass(frozen=True, slots=True)
class Ignore:
    """Nothing that concerns us: allowed."""


Request = Publish | Unpublish | Play | Ignore


@dataclass(frozen=True, slots=True)
class Decision:
    """`status` is that of an HTTP answer where the dialect has one; `reason` holds words without secrets."""

    allowed: bool
    reason: str = ""
    status: int = 200
    redirect: str = field(default="", repr=False)
    """Where the publisher is to go instead."""
    retry_after_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes = b""
    media_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Dialect(Protocol):
    """A module that reads and answers one media server's calls. Pure functions."""

    def authentic(self, call: Call, settings: HookSettings) -> bool:
        """Whether the call comes from the media server."""

    def read(self, call: Call, settings: HookSettings) -> Request:
        """Raises HookError for what is not of the dialect."""

    def answer(self, call: Call, decision: Decision) -> Answer: ...


def refused(reason: str, status: int = 403) -> Decision:
    return Decision(False, reason, status)


def same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in a time that does not depend on where they differ or how long they are."""
    digests = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (one, other)]
    return hmac.compare_digest(*digests)


def secret_in_url(call: Call, settings: HookSettings) -> bool:
    """The check of the dialects without signatures: `?secret=` of the hook's URL; true where none is set."""
    return not settings.secret or same(first(call.query, "secret"), settings.secret)


def first(fields: Fields, name: str) -> str:
    """The first value of that name, empty if there is none: what a publisher adds comes after the server's own."""
    return next((value for key, value in fields if key == name), "")


def fields_of(query: str) -> Fields:
    """`?a=b&c=d` or `a=b&c=d`. Raises HookError for more than 64 fields."""
    try:
        return tuple(parse_qsl(query.lstrip("?"), keep_blank_values=True, max_num_fields=64))
    except ValueError:
        raise HookError("the query has more than 64 fields") from None


def query_of(fields: Fields) -> str:
    """The fields encoded, so that nothing in them can leave the query of a URL."""
    return urlencode(fields, errors="replace")


def form(body: bytes) -> Fields:
    try:
        return fields_of(body.decode("ascii"))
    except UnicodeDecodeError:
        raise HookError("the body is not application/x-www-form-urlencoded: it has bytes outside ASCII") from None


def json_object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise HookError("the body is not JSON") from None
    if not isinstance(data, dict):
        raise HookError(f"the body is a JSON object; got {type(data).__name__}")
    return data


def text(data: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """The string at `key`. Raises HookError where there is none and no default, or something else than a string."""
    value = data.get(key, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise HookError(f"the key {key!r} is a text; got {'nothing' if value is None else type(value).__name__}")
    return value


def path_place(path: str, query: Fields = (), client: str = "") -> Place:
    """The place of a path such as `live/key`: the last part is the name."""
    app, _, name = path.strip("/").rpartition("/")
    return Place(app, name, query, client)


def plain(decision: Decision) -> Answer:
    """2xx or the refusal's status, with the reason as text."""
    headers = {"Retry-After": str(decision.retry_after_seconds)} if decision.retry_after_seconds else {}
    return Answer(200 if decision.allowed else decision.status, decision.reason.encode(), headers=headers)
