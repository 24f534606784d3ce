"""The last look at text that leaves: no password, stream key or query of a URL goes out, whoever wrote the text."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"
_URL = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]*)://([^\s\"'<>]*)")
_KEYED = ("rtmp", "rtmps", "rtmpt", "rtmpe")
"""Schemes whose path ends in the stream key."""


def without_secrets(text: str) -> str:
    """The same text, with each URL cut down to scheme, host and path; of RTMP the application only."""
    return _URL.sub(_shortened, text)


def clean(value: Any) -> Any:
    """The same plain data (dicts, lists, strings, numbers), with `without_secrets` applied to each string."""
    if isinstance(value, str):
        return without_secrets(value) if "://" in value else value
    if isinstance(value, dict):
        return {key: clean(inner) for key, inner in value.items()}
    return [clean(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _shortened(match: re.Match[str]) -> str:
    scheme, rest = match.groups()
    place, mark, _ = re.split(r"([?#])", rest, maxsplit=1) if re.search(r"[?#]", rest) else (rest, "", "")
    host, slash, path = place.partition("/")
    if scheme.lower() in _KEYED and "/" in path:
        path = f"{path.split('/')[0]}/{HIDDEN}"
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}{'?' + HIDDEN if mark else ''}"
