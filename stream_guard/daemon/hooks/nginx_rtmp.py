"""nginx-rtmp: `on_publish`, `on_publish_done`, `on_play`, `on_done`, `on_update` of its notify module, sent by POST.

A form with `app, flashver, swfurl, tcurl, pageurl, addr, clientid, call, name, type`, then whatever the publisher's URL
has after `?`. Any 2xx allows; 3xx with `Location: rtmp://ADDRESS/…` relays the stream there too, any other Location
renames it; everything else refuses. https://github.com/arut/nginx-rtmp-module/wiki/Directives#notify
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
    Place,
    Play,
    Publish,
    Request,
    Unpublish,
    first,
    form,
    plain,
    secret_in_url,
)

OWN = frozenset(
    {
        "app", "flashver", "swfurl", "tcurl", "pageurl", "addr", "clientid", "call", "name", "type", "start",
        "duration", "reset", "epoch", "recorder", "path", "time", "timestamp",
    }
)  # fmt: skip

authentic = secret_in_url


def read(call: Call, settings: HookSettings) -> Request:
    fields = form(call.body)
    event = first(fields, "call")
    if not event:
        raise HookError("the form has no `call`; nginx-rtmp sends one (notify_method post)")
    if event in ("publish", "update_publish"):
        # An update comes every `notify_update_timeout`: it brings a stream back that a restart of ours has forgotten.
        return Publish(_place(fields))
    if event == "publish_done":
        return Unpublish(_place(fields))
    return Play(_place(fields)) if event == "play" else Ignore()


def _place(fields: Fields) -> Place:
    return Place(first(fields, "app"), first(fields, "name"), _arguments(fields), first(fields, "clientid"))


def _arguments(fields: Fields) -> Fields:
    """What follows the server's own fields: of a name that comes twice, only the first is the server's."""
    seen: set[str] = set()
    arguments = []
    for name, value in fields:
        if name in OWN and name not in seen:
            seen.add(name)
        else:
            arguments.append((name, value))
    return tuple(arguments)


def answer(call: Call, decision: Decision) -> Answer:
    if decision.allowed and decision.redirect:
        return Answer(302, headers={"Location": decision.redirect})
    return plain(decision)
