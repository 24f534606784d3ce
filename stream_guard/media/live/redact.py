"""URLs as people may see them: no user, no password, no query, no stream key."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

HIDDEN = "***"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
SHORTEST_SECRET = 4
"""Shorter parts of a URL, such as the application `live`, are words of a sentence rather than secrets."""


def is_path(url: str) -> bool:
    """Whether this names a file rather than a place on the network."""
    return "://" not in url or url[:5].lower() == "file:"


def redact(url: str) -> str:
    """scheme://host:port/app/***: keys stand in the last part of the path, in the query or before the host.

    Paths of files are shown as they are; what cannot be taken apart is hidden altogether.
    """
    if is_path(url):
        return url
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return HIDDEN
    host = f"[{host}]" if ":" in host else host
    path = cut_path(parts.path, HIDDEN) or (f"/{HIDDEN}" if parts.query else "")
    return f"{parts.scheme}://{host}{port}{path}"


def cut_path(path: str, hidden: str) -> str:
    """`/app/key/1` with `hidden` for all that follows the first part; a part that stands alone may be the key."""
    names = [name for name in path.split("/") if name]
    if not names:
        return ""
    return f"/{names[0]}/{hidden}" if len(names) > 1 else f"/{hidden}"


def redact_text(text: str, *urls: str) -> str:
    """A foreign message without URLs and without the secret parts of these, which it may quote on their own."""
    for url in urls:
        text = text.replace(url, redact(url))
    text = _URL.sub(lambda found: redact(found.group()), text)
    for secret in sorted({s for url in urls for s in secret_parts(url)}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def secret_parts(url: str) -> set[str]:
    """What `redact` hides of a URL, in parts, each as it stands there and decoded."""
    if is_path(url):
        return set()
    try:
        parts = urlsplit(url)
    except ValueError:
        return {url}
    names = [name for name in parts.path.split("/") if name]
    values = [value.partition("=")[2] or value for value in re.split("[&;]", parts.query)]
    found = [*names[1:], *names[-1:], *values, parts.query, parts.fragment, parts.username or "", parts.password or ""]
    return {s for name in found for s in (name, unquote(name)) if len(s) >= SHORTEST_SECRET}
