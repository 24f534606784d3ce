"""What a request may name: pipelines, and files in the options of their stages. The operator's own file may name any.

What a request may not name is not even looked for: what is said of a file that is no pipeline or no engine shows what
stands in it, and whether it is there at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..config import Override, load_pipeline
from ..errors import ConfigError, EngineError
from ..inference.card import CARD_NAME, load_card
from ..magdr.calibration import load_calibration
from .files import check_file
from .settings import NAME, DaemonSettings, JobSettings, StreamDefaults, StreamSettings

CALIBRATION = "calibration"
"""The option that is a file's name whatever it looks like; others take a name of the zoo too."""
_PATH = re.compile(r"[/\\]|\A[.~]|\.(onnx|toml|ya?ml|json)\Z", re.IGNORECASE)
LARGEST = 1 << 20
"""Bytes of an engine's card or a calibration: they are read here, and a request may name any file below a root."""
UNREADABLE = (EngineError, ValueError, RecursionError)
"""What is no card or calibration leads nowhere; that it is none is said where it is used."""

Named = frozenset[tuple[str, Any]]
"""Options that the configuration itself sets, with their values."""


def asked(settings: StreamSettings | JobSettings, now: DaemonSettings) -> dict[str, Any]:
    """`pipeline` and `options` of a request with the real paths of the files that they name. Raises ConfigError."""
    own = _own(now)
    named: Named = frozenset(item for one in own for item in one.options.items())
    roots = now.urls.file_roots
    pipeline = settings.pipeline
    options = {
        key: value if (key, value) in named else _real(key, value, roots) for key, value in settings.options.items()
    }
    if not _may_name(pipeline, own):
        pipeline = _asked_file(pipeline, roots)
        _check_inside(pipeline, options, named, roots)
    return {"pipeline": pipeline, "options": options}


def _own(now: DaemonSettings) -> list[StreamDefaults]:
    """Everything in the configuration that names a pipeline and options."""
    return [now.defaults, *now.streams, *(hook.stream for hook in now.hooks.values())]


def _may_name(pipeline: str, own: Iterable[StreamDefaults]) -> bool:
    """Whether it is the usual one, a bundled one, or one that the configuration names."""
    plain = re.fullmatch(NAME, pipeline) and not pipeline.endswith((".yaml", ".yml"))
    return not pipeline or bool(plain) or pipeline in {one.pipeline for one in own}


def _asked_file(pipeline: str, roots: Sequence[str]) -> str:
    try:
        return check_file(pipeline, roots, "read")
    except ConfigError as exc:
        raise ConfigError(
            f"pipeline: {exc}; name a bundled pipeline, one that the configuration names, or a .yaml file below one of "
            "urls.file_roots"
        ) from exc


def _check_inside(pipeline: str, options: dict[str, Any], named: Named, roots: Sequence[str]) -> None:
    """The files that a pipeline of the request's own names; `options` are those laid over it."""
    config = load_pipeline(pipeline, [Override(key, value, f"options: {key}") for key, value in options.items()])
    for stage in config.stages:
        for option, value in stage.options.model_dump(exclude_unset=True).items():
            for text in _texts(value):
                if not named & {(f"{stage.name}.{option}", text), (f"*.{option}", text)}:
                    _real(f"{stage.name}.{option}", text, roots)


def _texts(value: Any) -> Iterator[str]:
    """All texts and paths in an option's value, however deep."""
    if isinstance(value, (str, Path)):
        yield str(value)
    elif isinstance(value, dict):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _texts(item)


def _real(key: str, value: Any, roots: Sequence[str]) -> Any:
    """The option's value; of a file or folder the real path, where it and all that it leads to lie below a root."""
    _, dot, option = key.rpartition(".")
    if not dot or not isinstance(value, str) or not value or not (option == CALIBRATION or _PATH.search(value)):
        return value
    try:
        return _checked_calibration(value, roots) if option == CALIBRATION else _checked_engine(value, roots)
    except ConfigError as exc:
        raise ConfigError(
            f"options: {key}: {exc}; name an engine of the zoo, what the configuration sets there, or a file or folder "
            "below one of urls.file_roots"
        ) from exc


def _checked_engine(path: str, roots: Sequence[str]) -> str:
    """The card that would be opened with it, and the model that the card names, are checked too."""
    real = check_file(path, roots, "open")
    folder = real if os.path.isdir(real) else os.path.dirname(real)
    card = real if real.endswith(".toml") else os.path.join(folder, CARD_NAME)
    if os.path.lexists(card):
        _check_size(check_file(card, roots, "read"))
        with suppress(*UNREADABLE):
            check_file(str(load_card(Path(card)).model_path), roots, "read")
    return real


def _checked_calibration(path: str, roots: Sequence[str]) -> str:
    """The engines that it names are checked too."""
    real = check_file(path, roots, "read")
    _check_size(real)
    with suppress(*UNREADABLE):
        known = load_calibration(Path(real))
        for name in (*known.probes, *([known.inputs.engine] if known.inputs is not None else [])):
            if _PATH.search(name):
                _checked_engine(name, roots)
    return real


def _check_size(real: str) -> None:
    if os.path.getsize(real) > LARGEST:
        raise ConfigError(f"a file of more than {LARGEST} bytes is no engine's card and no calibration")
