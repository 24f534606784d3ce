"""URLs as they may be shown: without user names, keys and queries."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "..."
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:[^/?#\s]*@)?(?P<host>[^/?#\s@]*)(?P<rest>[^\s]*)")

_BEHIND = ":;,'\")]"


def redacted(url: str) -> str:
    """`rtmp://user:pass@host/app/key?token=1` as `rtmp://host/app/...`; a file's path stays as it is."""
    match = _URL.fullmatch(url)
    if match is None or match["scheme"].lower() == "file":
        return url if match is not None or url.startswith("/") else HIDDEN
    path = re.split("[?#]", match["rest"])[0]
    parts = path.split("/")
    mark = "" if path == match["rest"] else "?" + HIDDEN
    if any(parts[1:]):
        parts[-1] = HIDDEN
        mark = ""
    return f"{match['scheme']}://{match['host']}{'/'.join(parts)}{mark}"


def scrubbed(text: str, secrets: Iterable[str] = ()) -> str:
    """Words of others with every URL redacted and each of `secrets` hidden, also where only a part of a URL stands."""
    for secret in sorted(_parts(secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _URL.sub(_redacted_in_words, text)


def _redacted_in_words(match: re.Match[str]) -> str:
    """The punctuation behind a URL is the sentence's."""
    url = match[0].rstrip(_BEHIND)
    return redacted(url) + match[0][len(url) :]


def _parts(urls: Iterable[str]) -> set[str]:
    """What of a URL is secret: its last path element, query, user and password; three letters are no secret."""
    found: set[str] = set()
    for url in urls:
        match = _URL.fullmatch(url)
        if match is None or match["scheme"].lower() == "file":
            continue
        last = match["rest"].rpartition("/")[2]
        user = url.partition("://")[2].rpartition("@")[0] if "@" in url else ""
        key, _, query = last.partition("?")
        found |= {part for part in (last, key, query, user, *user.split(":")) if len(part) > 3}
    return found
