"""The URL patterns of a hook's settings, filled for one publisher."""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from ...errors import ConfigError
from ..settings import NAME, HookSettings, StreamSettings
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
    """The stream that protects what is published at `place`, or only looks at it where the hook has no outputs.

    Raises ConfigError where the patterns make no such stream.
    """
    if not hook.outputs:
        return screening_settings(hook, place).model_copy(update={"name": place.name})
    outputs = [{**dict(output), "url": fill(output.url, place)} for output in hook.outputs]
    return _filled({**dict(hook.stream), "name": place.name, "source": fill(hook.source, place), "outputs": outputs})


def screening_settings(hook: HookSettings, place: Place) -> StreamSettings:
    """The stream that only looks at what is published at `place`, beside the one that protects it.

    Raises ConfigError where the pattern of the source makes no such stream.
    """
    chosen = {**dict(hook.stream), "pipeline": "screen", "options": {}, "screen": True}
    return _filled({**chosen, "name": screening_name(place.name), "source": fill(hook.source, place)})


def _filled(chosen: dict[str, Any]) -> StreamSettings:
    """A pattern such as `{query}` may be filled with nothing at all."""
    try:
        return StreamSettings.model_validate(chosen)
    except ValidationError as exc:
        told = [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors(include_input=False)]
        raise ConfigError(
            f"the hook's URL patterns make no stream of what is published: {'; '.join(told)}; write whole URLs, such "
            "as rtmp://127.0.0.1/{app}/{name}"
        ) from None


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
