"""SRS: `http_hooks` of a vhost, JSON by POST.

`{action, client_id, ip, vhost, app, tcUrl, stream, param}`, `param` being `?a=b`. Allowed is the answer 200 with `0` in
its body, everything else refuses. https://ossrs.io/lts/en-us/docs/v6/doc/http-callback
"""

from __future__ import annotations

from ..settings import HookSettings
from .messages import (
    Answer,
    Call,
    Decision,
    HookError,
    Ignore,
    Place,
    Play,
    Publish,
    Request,
    Unpublish,
    fields_of,
    json_object,
    secret_in_url,
    text,
)

authentic = secret_in_url


def read(call: Call, settings: HookSettings) -> Request:
    data = json_object(call.body)
    action = text(data, "action")
    kinds: dict[str, type[Publish] | type[Unpublish] | type[Play]]
    kinds = {"on_publish": Publish, "on_unpublish": Unpublish, "on_play": Play}
    if not action.startswith("on_"):
        raise HookError("unknown action; those of SRS begin with on_")
    if action not in kinds:
        return Ignore()
    # SRS 2 sent the id as a number.
    client = str(data.get("client_id", ""))[:64]
    place = Place(text(data, "app"), text(data, "stream"), fields_of(text(data, "param", "")), client)
    return kinds[action](place)


def answer(call: Call, decision: Decision) -> Answer:
    if decision.allowed:
        return Answer(200, b"0")
    return Answer(decision.status, b"1")
