"""MediaMTX: HTTP authentication (`authHTTPAddress`), and `runOnReady`/`runOnNotReady` (now `runOnAvailable`/…) by curl.

Authentication posts JSON `{user, password, token, ip, action, path, protocol, id, query, userAgent}`; 20x allows, 401
asks for credentials. The commands post a form to the same hook with `?event=ready` or `?event=notready` and the fields
`path` and, if wished, `query`, as in deploy/servers/mediamtx.yml. https://mediamtx.org/docs/usage/authentication
"""

from __future__ import annotations

from ..settings import HookSettings
from .messages import (
    Answer,
    Call,
    Decision,
    Fields,
    HookError,
    Ignore,
    Play,
    Publish,
    Request,
    Unpublish,
    fields_of,
    first,
    form,
    json_object,
    path_place,
    plain,
    secret_in_url,
    text,
)

ACTIONS = frozenset({"publish", "read", "playback", "api", "metrics", "pprof"})

authentic = secret_in_url


def read(call: Call, settings: HookSettings) -> Request:
    event = first(call.query, "event")
    if event:
        return _event(event, form(call.body), settings)
    data = json_object(call.body)
    action = text(data, "action")
    if action not in ACTIONS:
        raise HookError(f"unknown action; MediaMTX has {', '.join(sorted(ACTIONS))}")
    if action in ("api", "metrics", "pprof"):
        return Ignore()
    place = path_place(text(data, "path"), _query(data), "")
    return Publish(place, starts=False) if action == "publish" else Play(place)


def _query(data: dict[str, object]) -> Fields:
    """The query's fields, then the credentials as `token`: MediaMTX takes them from several places."""
    fields = fields_of(text(data, "query", ""))
    given = (text(data, "token", ""), text(data, "password", ""))
    return (*fields, *(("token", value) for value in given if value))


def _event(event: str, fields: Fields, settings: HookSettings) -> Request:
    # Without an id: of one path, MediaMTX tells only one stream at a time.
    place = path_place(first(fields, "path"), _let_in(fields_of(first(fields, "query")), settings))
    if event == "ready":
        return Publish(place)
    if event == "notready":
        return Unpublish(place)
    raise HookError("the hook's ?event= is `ready` or `notready`")


def _let_in(query: Fields, settings: HookSettings) -> Fields:
    """With the publishers' token where none came, if the secret shows that MediaMTX itself tells of whom it let in.

    One who gave the token as a password has none in the query, and we need it to read what is published. A token that
    did come is judged as it is.
    """
    if not settings.secret or not settings.publish_token or first(query, "token"):
        return query
    return (*query, ("token", settings.publish_token))


def answer(call: Call, decision: Decision) -> Answer:
    if not decision.allowed and decision.status == 403 and not first(call.query, "event") and not _credentials(call):
        return Answer(401, decision.reason.encode())
    return plain(decision)


def _credentials(call: Call) -> bool:
    """Whether the client has given any: RTSP clients do so only when they are asked."""
    try:
        data = json_object(call.body)
    except HookError:
        return True
    return any(data.get(key) for key in ("user", "password", "token"))
