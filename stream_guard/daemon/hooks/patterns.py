"""The URL patterns of a hook's settings, filled for one publisher."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urlsplit

from ...errors import ConfigError
from ..settings import NAME, HookSettings, OutputSettings, StreamSettings
from .messages import Fields, Place, fields_of, query_of

_PLACEHOLDER = re.compile(r"\{(app|name|query)\}")
_NAME = re.compile(NAME)
MOST = 64
"""Characters of a stream's name."""
SCREEN = ".screen"
"""How the names of streams end that look at what is published beside its protection; a publisher's may not."""


def check_name(place: Place) -> None:
    """Raises ConfigError for a name that cannot become a stream's."""
    if not _NAME.match(place.name) or "\n" in place.name:
        raise ConfigError(
            "the published name cannot become a stream's: letters, digits and . _ - only, at most 64, a letter or "
            "digit first"
        )
    if place.name.endswith(SCREEN):
        raise ConfigError(f"names that end in {SCREEN} are the daemon's own; publish under another name")


def fill(pattern: str, place: Place) -> str:
    """`{app}`, `{name}` and `{query}` replaced; `?{query}` vanishes with an empty query."""
    query = query_of(place.query)
    if not query:
        pattern = re.sub(r"[?&]\{query\}", "", pattern)
    values = {"app": place.app, "name": place.name, "query": query}
    return _PLACEHOLDER.sub(lambda match: values[match[1]], pattern)


def stream_settings(hook: HookSettings, place: Place) -> StreamSettings:
    """The stream that protects what is published at `place`, or only looks at it where the hook has no outputs."""
    if not hook.outputs:
        return screening_settings(hook, place).model_copy(update={"name": place.name})
    outputs = tuple(OutputSettings(url=fill(o.url, place), format=o.format, options=o.options) for o in hook.outputs)
    return StreamSettings(**dict(hook.stream), name=place.name, source=fill(hook.source, place), outputs=outputs)


def screening_settings(hook: HookSettings, place: Place) -> StreamSettings:
    """The stream that only looks at what is published at `place`, beside the one that protects it."""
    chosen = {**dict(hook.stream), "pipeline": "screen", "options": {}}
    return StreamSettings(**chosen, name=screening_name(place.name), source=fill(hook.source, place), screen=True)


def screening_name(name: str) -> str:
    """Long names are cut, and keep a digest so that no two share one."""
    if len(name) + len(SCREEN) > MOST:
        name = f"{name[:48]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name + SCREEN


def leads_to(url: str, place: Place) -> bool:
    """Whether `place` is the app and name of an output's URL."""
    path = urlsplit(url).path.strip("/")
    return path == (f"{place.app}/{place.name}" if place.app else place.name)


def keys_of(url: str) -> Fields:
    """The query of an output's URL: whoever publishes there with the same fields is ourselves."""
    return fields_of(urlsplit(url).query)
