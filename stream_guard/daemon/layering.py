"""What is laid over what: the environment over the file, a stream's own settings over the defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..document import Document, KeyPath, Mark, parse_value
from ..errors import ConfigError
from .settings import StreamDefaults, StreamSettings

PREFIX = "STREAM_GUARD__"
SCREENING = "screen"
"""The pipeline of streams that are only looked at and name none."""
_VARIABLE = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
FROM_FILE = ("url", "source", "secret", "webhook_secret", "publish_token", "sha256")
"""Keys that can be given as KEY_file: the path of a file that holds the value."""


def with_environment(document: Document, environment: Mapping[str, str], mistakes: list[str]) -> None:
    """Lay STREAM_GUARD__HTTP__PORT=8080 over `http.port`; values are read as YAML, lists are reached by number."""
    for variable in sorted(environment):
        if not variable.startswith(PREFIX):
            continue
        try:
            value = parse_value(environment[variable])
        except ConfigError as exc:
            mistakes.append(f"{variable}: {exc}")
            continue
        if not _put(document, variable.removeprefix(PREFIX).split("__"), value, Mark(variable)):
            mistakes.append(f"{variable}: there is no such place in the file; lists take numbers that are there")


def _put(document: Document, words: list[str], value: Any, mark: Mark) -> bool:
    """Set the value at the place that `words` name; False where the file has no room for it."""
    if document.data is None:
        document.data = {}
    parent = document.data
    path: KeyPath = ()
    for position, word in enumerate(words):
        key = _key(parent, word)
        if key is None:
            return False
        path = (*path, key)
        if position == len(words) - 1:
            parent[key] = value
            document.marks = {place: m for place, m in document.marks.items() if place[: len(path)] != path}
            document.marks[path] = mark
        elif isinstance(parent, dict):
            parent = parent.setdefault(key, {})
            document.marks.setdefault(path, mark)
        else:
            parent = parent[key]
    return True


def _key(parent: Any, word: str) -> str | int | None:
    """The key of `parent` that is meant: case and `-` against `_` do not count. None where there can be none."""
    if isinstance(parent, dict):
        plain = word.lower()
        return next((key for key in parent if str(key).lower().replace("-", "_") == plain), plain) if plain else None
    if isinstance(parent, list) and word.isdigit() and int(word) < len(parent):
        return int(word)
    return None


def expanded(document: Document, environment: Mapping[str, str], mistakes: list[str]) -> frozenset[str]:
    """Replace ${NAME} in texts by the environment's value, $$ by $, and KEY_file by KEY with what the file holds.

    Returns the names of the variables.
    """
    named = frozenset(match[2] for text in _texts(document.data) for match in _VARIABLE.finditer(text) if match[2])
    document.data = _expand(document.data, (), document, environment, mistakes)
    return named


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, (dict, list)):
        for item in data.values() if isinstance(data, dict) else data:
            yield from _texts(item)


def _expand(data: Any, path: KeyPath, document: Document, environment: Mapping[str, str], mistakes: list[str]) -> Any:
    if isinstance(data, list):
        return [_expand(item, (*path, i), document, environment, mistakes) for i, item in enumerate(data)]
    if isinstance(data, str):
        return _replaced(data, path, document, environment, mistakes)
    if not isinstance(data, dict):
        return data
    made: dict[Any, Any] = {}
    for key, value in data.items():
        place = (*path, key)
        value = _expand(value, place, document, environment, mistakes)
        plain = str(key).removesuffix("_file")
        if plain == key or plain not in FROM_FILE or not isinstance(value, str):
            made[key] = value
        elif plain in data:
            mistakes.append(f"{document.mark(place)}: {key!r} and {plain!r} are both given; give one of them")
        else:
            made[plain] = _held(value, place, document, mistakes)
            beside: KeyPath = (*path, plain)
            document.marks[beside] = document.mark(place)
    return made


def _replaced(text: str, path: KeyPath, document: Document, environment: Mapping[str, str], mistakes: list[str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1]:
            return "$"
        if match[2] not in environment:
            mistakes.append(f"{document.mark(path)}: the environment has no variable {match[2]}")
        return environment.get(match[2], "unset")

    return _VARIABLE.sub(value, text)


def _held(path: str, place: KeyPath, document: Document, mistakes: list[str]) -> str:
    """What the file holds, never nothing: an empty secret would ask for none."""
    try:
        held = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as exc:  # a ValueError for bytes that are no text, and for a path with a NUL in it
        mistakes.append(f"{document.mark(place)}: cannot read {path!r}: {getattr(exc, 'strerror', None) or exc}")
        return "unset"
    if not held:
        mistakes.append(f"{document.mark(place)}: the file {path!r} is empty")
    return held or "unset"


def with_defaults(settings: StreamSettings, defaults: StreamDefaults) -> StreamSettings:
    """The stream's own settings over the defaults, key by key.

    A stream that only screens and names no pipeline runs `screen`. The defaults' stage options are those of their
    pipeline: a stream that runs another one does not inherit them.
    """
    own, below = settings.model_dump(exclude_unset=True), defaults.model_dump(exclude_unset=True)
    if settings.screen and "pipeline" not in own:
        own["pipeline"] = SCREENING
    if own.get("pipeline", defaults.pipeline) != defaults.pipeline:
        below.pop("options", None)
    return StreamSettings.model_validate(_over(own, below))


def hook_stream(stream: StreamDefaults, defaults: StreamDefaults) -> StreamDefaults:
    """A hook's stream settings over the defaults."""
    own, below = stream.model_dump(exclude_unset=True), defaults.model_dump(exclude_unset=True)
    if own.get("pipeline", defaults.pipeline) != defaults.pipeline:
        below.pop("options", None)
    return StreamDefaults.model_validate(_over(own, below))


def _over(own: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(below)
    for key, value in own.items():
        beneath = below.get(key)
        both = isinstance(value, dict) and isinstance(beneath, dict)
        made[key] = _over(value, beneath) if both and beneath is not None else value
    return made
