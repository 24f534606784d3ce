"""The daemon's file read and checked as a whole: all mistakes at once, each with its line and column."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..document import Document, read_document
from ..errors import ConfigError, StreamGuardError
from ..media.live import LIVE_ENCODER, check_places
from ..media.settings import check_settings
from ..otlp import check_endpoint
from .addresses import Resolver
from .aggregate import OTHER, OWNER
from .api.access import check_certificate, check_listening
from .files import check_file
from .hooks.messages import Place
from .hooks.patterns import stream_settings
from .layering import expanded, hook_stream, with_defaults, with_environment
from .mistakes import validated
from .settings import NAME, DaemonSettings, HookSettings, StreamSettings, Urls
from .specs import live_spec, pipeline_config
from .urls import check_options, check_url

RESERVED = frozenset({OTHER, OWNER})
"""What the label `stream` says of series that are no stream's."""

log = logging.getLogger(__name__)


def load_settings(path: Path | None, environment: Mapping[str, str]) -> DaemonSettings:
    """The file with the environment laid over it and the defaults below each stream; no file means all defaults.

    Raises ConfigError with every mistake on a line of its own, beginning with file, line and column.
    """
    document = read_document(path, "configuration") if path is not None else Document({}, "(no file)")
    mistakes: list[str] = []
    if document.data is None:
        document.data = {}
    if not isinstance(document.data, dict):
        raise ConfigError(f"{document.mark(())}: a configuration is a mapping, such as http: {{port: 8642}}")
    with_environment(document, environment, mistakes)
    expanded(document, environment, mistakes)
    written = validated(DaemonSettings, document, mistakes)
    if written is None or mistakes:
        raise ConfigError("\n".join(mistakes))
    settings = _layered(written)
    _check(settings, document, mistakes)
    if mistakes:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)))
    return settings


def _layered(written: DaemonSettings) -> DaemonSettings:
    streams = tuple(with_defaults(stream, written.defaults) for stream in written.streams)
    hooks = {
        name: hook.model_copy(update={"stream": hook_stream(hook.stream, written.defaults)})
        for name, hook in written.hooks.items()
    }
    return written.model_copy(update={"streams": streams, "hooks": hooks})


def _check(settings: DaemonSettings, document: Document, mistakes: list[str]) -> None:
    """What no single value shows: names used twice, pipelines that do not exist, URLs that are not allowed."""

    def tried(action: Callable[[], object], *place: str | int) -> None:
        try:
            action()
        except UnresolvedError as exc:
            log.warning("%s: %s; it is tried nevertheless", document.mark(place), exc)
        except StreamGuardError as exc:
            mistakes.extend(f"{document.mark(place)}: {line}" for line in str(exc).splitlines())

    tried(lambda: check_listening(settings.http), "http")
    if settings.http.tls is not None:
        tried(partial(check_certificate, settings.http.tls), "http", "tls")
    tried(lambda: _check_roots(settings.urls.file_roots), "urls", "file_roots")
    tried(lambda: pipeline_config(settings.defaults), "defaults")
    if settings.metrics.tracing:
        tried(lambda: check_endpoint(settings.metrics.tracing), "metrics", "tracing")
    names: set[str] = set()
    for index, stream in enumerate(settings.streams):
        tried(partial(check_stream, stream, settings.urls, _resolve), "streams", index)
        if stream.name in names:
            mistakes.append(f"{document.mark(('streams', index, 'name'))}: the name {stream.name!r} is taken above")
        names.add(stream.name)
    for name, hook in settings.hooks.items():
        tried(partial(_check_hook, hook, settings.urls), "hooks", name)


def _check_roots(roots: Sequence[str]) -> None:
    for root in roots:
        if not os.path.isabs(root):
            raise ConfigError(f"the folder {root!r} is not absolute; give its whole path, such as /srv/video")


def _check_hook(hook: HookSettings, urls: Urls) -> None:
    """As the first publisher would find it."""
    publisher = Place(hook.application, "example", ())
    check_stream(stream_settings(hook, publisher), urls, _resolve)


class UnresolvedError(ConfigError):
    """A host without an address at this moment."""


def _resolve(host: str, port: int, **kind: Any) -> Any:
    """For the file's own streams: a name server that is away when the daemon starts does not make the file wrong."""
    try:
        return socket.getaddrinfo(host, port, **kind)
    except OSError as exc:
        raise UnresolvedError(f"the host {host!r} has no address: {exc.strerror or exc}") from exc


def asked_pipeline(name: str, settings: DaemonSettings) -> str:
    """`name` if a request may name it: a bundled pipeline, one that the configuration names, or a file below a root.

    Any other file is not even opened: what is said of one that is no pipeline shows what stands in it. Raises
    ConfigError.
    """
    configured = {settings.defaults.pipeline, *(stream.pipeline for stream in settings.streams)}
    configured |= {hook.stream.pipeline for hook in settings.hooks.values()}
    plain = re.fullmatch(NAME, name) and not name.endswith((".yaml", ".yml"))
    if not name or plain or name in configured:
        return name
    try:
        return check_file(name, settings.urls.file_roots, "read")
    except ConfigError as exc:
        raise ConfigError(
            f"pipeline: {exc}; name a bundled pipeline, one that the configuration names, or a .yaml file below one of "
            "urls.file_roots"
        ) from exc


def check_stream(settings: StreamSettings, urls: Urls, resolve: Resolver = socket.getaddrinfo) -> None:
    """Raises ConfigError for what would not run or may not be named, UnknownNameError for an unknown pipeline."""
    if settings.name in RESERVED:
        raise ConfigError(f"the name {settings.name!r} is the metrics' own; choose another for the stream")
    if not settings.screen and not settings.outputs and not settings.record:
        raise ConfigError(f"the stream {settings.name!r} has neither outputs nor record; only screen: true needs none")
    check_url(settings.source, urls, "source", resolve)
    check_options(settings.source_options, "source")
    for output in settings.outputs:
        check_url(output.url, urls, "output", resolve)
        check_options(output.options, "output")
        if output.url == settings.source:
            raise ConfigError(f"the stream {settings.name!r} has its own source as an output; name another place")
    if settings.record:
        check_url(settings.record, urls, "output")
    spec = live_spec(settings)
    check_settings(spec.encoder, LIVE_ENCODER)
    check_places(spec.outputs, spec.record)
    if not settings.screen and not spec.pipeline.protects:
        raise ConfigError(
            f"the pipeline {spec.pipeline.name!r} of the stream {settings.name!r} protects no face; "
            "set screen: true to only look"
        )
