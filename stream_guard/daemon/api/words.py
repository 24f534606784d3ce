"""The last look at what leaves: no password, stream key or query of a URL goes out, whoever wrote the text."""

from __future__ import annotations

from typing import Any

from ..redaction import scrubbed


def clean(value: Any) -> Any:
    """The same plain data (dicts, lists, strings, numbers), with the URLs in each string cut down."""
    if isinstance(value, str):
        return scrubbed(value) if "://" in value else value
    if isinstance(value, dict):
        return {clean(key): clean(inner) for key, inner in value.items()}
    return [clean(inner) for inner in value] if isinstance(value, (list, tuple)) else value
