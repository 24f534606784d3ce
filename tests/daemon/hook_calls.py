"""Calls of media servers: nginx-rtmp's as recorded from 1.22 with module 1.2.2, the others' as documented."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

from stream_guard.daemon.hooks.messages import Call, Fields
from stream_guard.daemon.settings import HookSettings, OutputSettings

SECRET, TOKEN = "the-hooks-secret", "to/k"
NGINX = (
    "app=live&flashver=FMLE/3.0%20(compatible%3B%20Lavf59.27&swfurl=&tcurl=rtmp://127.0.0.1:21935/live&pageurl="
    "&addr=127.0.0.1&clientid={client}"
)
ARGUMENTS = "&token=to%2Fk&name=victim"
"""What the publisher had in its URL: a token, and a try to name another stream."""

SRS = {
    "server_id": "vid-0xk989d",
    "service_id": "382k456r",
    "action": "on_publish",
    "client_id": "341w361a",
    "ip": "127.0.0.1",
    "vhost": "__defaultVhost__",
    "app": "live",
    "tcUrl": "rtmp://127.0.0.1:1935/live?vhost=__defaultVhost__",
    "stream": "key",
    "param": "?token=to%2Fk",
    "stream_url": "/live/key",
    "stream_id": "vid-124q9y3",
}
MEDIAMTX = {
    "user": "",
    "password": "",
    "token": "",
    "ip": "127.0.0.1",
    "action": "publish",
    "path": "live/key",
    "protocol": "rtmp",
    "id": "5a1b6b62-4bd4-4f3a-a1b7-7d8e1c5d6f22",
    "query": "token=to%2Fk",
    "userAgent": "",
}
OME = {
    "client": {"address": "211.233.58.86", "port": 29291, "real_ip": "192.0.2.1", "user_agent": "OBS"},
    "request": {
        "direction": "incoming",
        "protocol": "RTMP",
        "status": "opening",
        "url": "rtmp://ome.example.org:1935/live/key?token=to%2Fk",
        "new_url": "rtmp://ome.example.org:1935/live/key?token=to%2Fk",
        "time": "2026-11-21T08:47:34.000+00:00",
    },
}


def secret(value: str = SECRET, **more: str) -> Fields:
    return (("secret", value), *more.items())


def nginx(call: str, client: int = 1, arguments: str = ARGUMENTS, app: str = "live", name: str = "key") -> Call:
    """A call of nginx-rtmp: publish, update_publish, publish_done, play or done."""
    own = {
        "publish": f"&call=publish&name={name}&type=live",
        "update_publish": f"&call=update_publish&time=2&timestamp=1500&name={name}",
        "play": f"&call=play&name={name}&start=4294965296&duration=0&reset=0",
    }.get(call, f"&call={call}&name={name}")
    body = NGINX.format(client=client).replace("app=live", f"app={app}", 1) + own + arguments
    return Call(body.encode(), query=secret())


def srs(action: str, **more: Any) -> Call:
    return Call(json.dumps({**SRS, "action": action, **more}).encode(), query=secret())


def mediamtx(action: str, **more: Any) -> Call:
    return Call(json.dumps({**MEDIAMTX, "action": action, **more}).encode(), query=secret())


def mediamtx_event(event: str, path: str = "live/key", query: str = "token=to%2Fk") -> Call:
    """What the curl of runOnReady posts."""
    return Call(urlencode({"path": path, "query": query}).encode(), query=secret(event=event))


def ome(status: str = "opening", direction: str = "incoming", key: str = SECRET, **more: Any) -> Call:
    request = {**OME["request"], "status": status, "direction": direction, **more}
    body = json.dumps({**OME, "request": request}).encode()
    digest = hmac.new(key.encode(), body, hashlib.sha1).digest()
    return Call(body, {"x-ome-signature": base64.urlsafe_b64encode(digest).rstrip(b"=").decode()})


PUBLISH = {
    "nginx-rtmp": nginx("publish"),
    "mediamtx": mediamtx_event("ready"),
    "srs": srs("on_publish"),
    "ovenmediaengine": ome(),
}
UNPUBLISH = {
    "nginx-rtmp": nginx("publish_done"),
    "mediamtx": mediamtx_event("notready"),
    "srs": srs("on_unpublish"),
    "ovenmediaengine": ome("closing"),
}
PLAY = {
    "nginx-rtmp": nginx("play", arguments=""),
    "mediamtx": mediamtx("read", query=""),
    "srs": srs("on_play", param=""),
    "ovenmediaengine": ome(direction="outgoing", url="ws://ome.example.org:3333/live/key"),
}
DIALECTS = tuple(PUBLISH)


def settings(dialect: str, **more: Any) -> HookSettings:
    chosen: dict[str, Any] = {
        "dialect": dialect,
        "source": "rtmp://127.0.0.1:1935/{app}/{name}?{query}",
        "outputs": (OutputSettings(url="rtmp://127.0.0.1:1935/protected/{name}?key=ours"),),
        "secret": SECRET,
        "publish_token": TOKEN,
    }
    return HookSettings(**{**chosen, **more})
