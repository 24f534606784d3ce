"""OvenMediaEngine: AdmissionWebhooks, JSON by POST, signed.

`{client: {address, port, real_ip, user_agent}, request: {direction, protocol, status, url, new_url, time}}` with
`X-OME-Signature`, the HMAC-SHA1 of the body in URL-safe base64. The answer is always 200: `{allowed, new_url, lifetime,
reason}`, and `{}` to a closing. https://docs.ovenmediaengine.com/access-control/admission-webhooks
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from ..settings import HookSettings
from .messages import (
    Answer,
    Call,
    Decision,
    HookError,
    Place,
    Play,
    Publish,
    Request,
    Unpublish,
    fields_of,
    json_object,
    path_place,
    same,
    text,
)


def signature(body: bytes, secret: str) -> str:
    """The value of X-OME-Signature, without padding."""
    digest = hmac.new(secret.encode(), body, hashlib.sha1).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def authentic(call: Call, settings: HookSettings) -> bool:
    """Whether the signature is right; true where no secret is set."""
    came = call.headers.get("x-ome-signature", "").rstrip("=")
    return not settings.secret or same(came, signature(call.body, settings.secret))


def read(call: Call, settings: HookSettings) -> Request:
    data = json_object(call.body)
    request = _part(data, "request")
    direction, status = text(request, "direction").lower(), text(request, "status", "opening").lower()
    place = _place(text(request, "url"), _client(data))
    if direction == "incoming":
        return Unpublish(place) if status == "closing" else Publish(place)
    if direction == "outgoing":
        # The end of a playing asks nothing: answered like any closing.
        return Play(place)
    raise HookError("the direction is `incoming` or `outgoing`")


def _place(url: str, client: str) -> Place:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise HookError("request.url is not a URL") from None
    return path_place(unquote(parts.path), fields_of(parts.query), client)


def _client(data: Mapping[str, Any]) -> str:
    client = data.get("client")
    return f"{client.get('address')}:{client.get('port')}"[:64] if isinstance(client, dict) else ""


def _part(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = data.get(key)
    if not isinstance(part, dict):
        raise HookError(f"the key {key!r} is a JSON object; OvenMediaEngine's AdmissionWebhooks send one")
    return part


def answer(call: Call, decision: Decision) -> Answer:
    return Answer(200, json.dumps(_said(call, decision)).encode(), "application/json")


def _said(call: Call, decision: Decision) -> dict[str, Any]:
    try:
        closing = _part(json_object(call.body), "request").get("status") == "closing"
    except HookError:
        closing = False
    if closing:
        return {}
    if not decision.allowed:
        return {"allowed": False, "reason": decision.reason}
    # lifetime 0: until it ends by itself.
    return {"allowed": True, "lifetime": 0, **({"new_url": decision.redirect} if decision.redirect else {})}
