"""URLs as they may be shown: without user names, keys and queries."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..media.live import cut_path, secret_parts

HIDDEN = "..."
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:[^/?#\s]*@)?(?P<host>[^/?#\s@]*)(?P<rest>[^\s]*)")

_BEHIND = ":;,'\")]"


def redacted(url: str) -> str:
    """`rtmp://user:pass@host/app/key/1?token=1` as `rtmp://host/app/...`; a file's path stays as it is."""
    match = _URL.fullmatch(url)
    if match is None or match["scheme"].lower() == "file":
        return url if match is not None or url.startswith("/") else HIDDEN
    path = re.split("[?#]", match["rest"])[0]
    mark = "" if path == match["rest"] else "?" + HIDDEN
    return f"{match['scheme']}://{match['host']}{cut_path(path, HIDDEN) or path + mark}"


def scrubbed(text: str, secrets: Iterable[str] = ()) -> str:
    """Words of others with every URL redacted and each of `secrets` hidden, also where only a part of a URL stands."""
    for secret in sorted({part for url in secrets for part in secret_parts(url)}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _URL.sub(_redacted_in_words, text)


def _redacted_in_words(match: re.Match[str]) -> str:
    """The punctuation behind a URL is the sentence's."""
    url = match[0].rstrip(_BEHIND)
    return redacted(url) + match[0][len(url) :]
