"""The daemon's file read and checked as a whole: all mistakes at once, each with its line and column."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..document import Document, read_document
from ..errors import ConfigError, StreamGuardError
from ..media.live import LIVE_ENCODER, LiveOutput, check_places, playlists
from ..media.settings import check_settings
from ..otlp import check_endpoint
from .addresses import Resolver, parse_allowed
from .aggregate import OTHER, OWNER
from .api.access import check_certificate, check_listening
from .hooks.messages import Place
from .hooks.patterns import stream_settings
from .layering import expanded, hook_stream, with_defaults, with_environment
from .mistakes import validated
from .options import check_options
from .settings import DaemonSettings, HookSettings, StreamSettings, Urls
from .specs import live_spec, pipeline_config, unprotecting
from .urls import Purpose, check_scheme, check_url, is_file

T = TypeVar("T")
RESERVED = frozenset({OTHER, OWNER})
"""What the label `stream` says of series that are no stream's."""

log = logging.getLogger(__name__)


def load_settings(path: Path | None, environment: Mapping[str, str], *, again: bool = False) -> DaemonSettings:
    """The file with the environment laid over it and the defaults below each stream; no file means all defaults.

    `again` says that a daemon runs by what the file said before: an empty one was cut off, and is a mistake.
    Raises ConfigError with every mistake on a line of its own, beginning with file, line and column.
    """
    document = read_document(path, "configuration") if path is not None else Document({}, "(no file)")
    mistakes: list[str] = []
    if document.data is None:
        if again and path is not None:
            raise ConfigError(f"{path}: the file is empty; it holds {{}} where all is to have its default")
        document.data = {}
    if not isinstance(document.data, dict):
        raise ConfigError(f"{document.mark(())}: a configuration is a mapping, such as http: {{port: 8642}}")
    with_environment(document, environment, mistakes)
    variables = expanded(document, environment, mistakes)
    missing = {mistake.split(": ")[0] for mistake in mistakes}
    shown: list[str] = []
    written = validated(DaemonSettings, document, shown)
    mistakes += [mistake for mistake in shown if mistake.split(": ")[0] not in missing]  # nothing is wrong twice
    if written is None or mistakes:
        raise ConfigError("\n".join(mistakes))
    settings = _layered(written)
    checked = _checked(settings, document, mistakes)
    if mistakes:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)))
    return checked.naming(variables)


def _layered(written: DaemonSettings) -> DaemonSettings:
    streams = tuple(with_defaults(stream, written.defaults) for stream in written.streams)
    hooks = {
        name: hook.model_copy(update={"stream": hook_stream(hook.stream, written.defaults)})
        for name, hook in written.hooks.items()
    }
    return written.model_copy(update={"streams": streams, "hooks": hooks})


def _checked(settings: DaemonSettings, document: Document, mistakes: list[str]) -> DaemonSettings:
    """What no single value shows: names used twice, pipelines that do not exist, URLs that are not allowed.

    Answers with the settings in which the streams' files have the names that were checked.
    """

    def tried(action: Callable[[], T], *place: str | int) -> T | None:
        try:
            return action()
        except UnresolvedError as exc:
            log.warning("%s: %s; it is tried nevertheless", document.mark(place), exc)
        except StreamGuardError as exc:
            mistakes.extend(f"{document.mark(place)}: {line}" for line in str(exc).splitlines())
        return None

    tried(lambda: check_listening(settings.http), "http")
    if settings.http.tls is not None:
        tried(partial(check_certificate, settings.http.tls), "http", "tls")
    for index, scheme in enumerate(settings.urls.schemes):
        tried(partial(check_scheme, scheme), "urls", "schemes", index)
    for index, host in enumerate(settings.urls.hosts):
        tried(partial(parse_allowed, host), "urls", "hosts", index)
    tried(lambda: _check_roots(settings.urls.file_roots), "urls", "file_roots")
    tried(lambda: pipeline_config(settings.defaults), "defaults")
    if settings.metrics.tracing:
        tried(lambda: check_endpoint(settings.metrics.tracing), "metrics", "tracing")
    names: set[str] = set()
    written_by: dict[str, str] = {}
    streams: list[StreamSettings] = []
    for index, written in enumerate(settings.streams):
        stream = tried(partial(at_real_paths, written, settings.urls), "streams", index) or written
        streams.append(stream)
        tried(partial(check_stream, stream, settings.urls, _resolve), "streams", index)
        if stream.name in names:
            mistakes.append(f"{document.mark(('streams', index, 'name'))}: the name {stream.name!r} is taken above")
        names.add(stream.name)
        tried(partial(_check_playlists, stream, written_by), "streams", index)
    for name, hook in settings.hooks.items():
        tried(partial(_check_hook, hook, settings.urls), "hooks", name)
    return settings.model_copy(update={"streams": tuple(streams)})


def playlists_of(settings: StreamSettings) -> list[str]:
    """The paths of a stream's HLS outputs, as `at_real_paths` made them. Raises ConfigError for what cannot be one."""
    return playlists([LiveOutput(output.url, output.format) for output in settings.outputs])


def _check_playlists(settings: StreamSettings, written_by: dict[str, str]) -> None:
    for path in playlists_of(settings):
        other = written_by.setdefault(path, settings.name)
        if other != settings.name:
            raise ConfigError(f"the playlist {path!r} is the stream {other!r}'s; give each a name of its own")


def _check_roots(roots: Sequence[str]) -> None:
    for root in roots:
        if not os.path.isabs(root):
            raise ConfigError(f"the folder {root!r} is not absolute; give its whole path, such as /srv/video")


def _check_hook(hook: HookSettings, urls: Urls) -> None:
    """As the first publisher would find it."""
    publisher = Place(hook.application, "example", ())
    check_stream(at_real_paths(stream_settings(hook, publisher), urls), urls, _resolve)


class UnresolvedError(ConfigError):
    """A host without an address at this moment."""


def _resolve(host: str, port: int, **kind: Any) -> Any:
    """For the file's own streams: a name server that is away when the daemon starts does not make the file wrong."""
    try:
        return socket.getaddrinfo(host, port, **kind)
    except OSError as exc:
        raise UnresolvedError(f"the host {host!r} has no address: {exc.strerror or exc}") from exc


def at_real_paths(settings: StreamSettings, urls: Urls) -> StreamSettings:
    """The stream with each file that it writes named by the path that was checked, links followed: that one is opened.

    Raises ConfigError for files that are not allowed.
    """
    outputs = [output.model_copy(update={"url": _real(output.url, urls)}) for output in settings.outputs]
    return settings.model_copy(update={"outputs": tuple(outputs), "record": _real(settings.record, urls)})


def _real(url: str, urls: Urls) -> str:
    if not is_file(url):
        return url
    path = check_url(url, urls, "output").path
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ConfigError("the output file has a name that is not UTF-8; name another") from None
    return path


def check_stream(settings: StreamSettings, urls: Urls, resolve: Resolver = socket.getaddrinfo) -> None:
    """Raises ConfigError for what would not run or may not be named, UnknownNameError for an unknown pipeline.

    Raises UnresolvedError, where `resolve` does, when all else is checked. Files are opened as they are named here:
    by `at_real_paths`.
    """
    _check_purpose(settings)
    unresolved = _check_urls(settings, urls, resolve)
    check_options(settings.source_options, "source", settings.source)
    for output in settings.outputs:
        check_options(output.options, "output", output.url)
        if output.url == settings.source:
            raise ConfigError(f"the stream {settings.name!r} has its own source as an output; name another place")
    spec = live_spec(settings)
    check_settings(spec.encoder, LIVE_ENCODER)
    check_places(spec.outputs, spec.record)
    if not settings.screen:
        unprotecting(spec.pipeline, "add the stage disrupt, or set screen: true to only look")
    if unresolved:
        raise unresolved[0]


def disallowed(settings: StreamSettings, urls: Urls) -> str:
    """Why these rules would not let the stream start; empty where they would, or where a name server is away."""
    try:
        _check_urls(settings, urls, _resolve)
    except ConfigError as exc:
        return str(exc)
    return ""


def _check_purpose(settings: StreamSettings) -> None:
    """A stream pulls from a URL, and protects what it writes, or only looks and writes nothing."""
    if settings.name in RESERVED:
        raise ConfigError(f"the name {settings.name!r} is the metrics' own; choose another for the stream")
    if is_file(settings.source):
        raise ConfigError(
            f"the source of the stream {settings.name!r} is a file; give a URL such as rtmp://host/app/key, or have it "
            "done as a job: POST /v1/jobs"
        )
    written = [key for key in ("outputs", "record") if getattr(settings, key)]
    if not settings.screen and not written:
        raise ConfigError(f"the stream {settings.name!r} has neither outputs nor record; only screen: true needs none")
    if settings.screen and written:
        given = " and ".join(written)
        raise ConfigError(
            f"the stream {settings.name!r} has screen: true and {given}; screening only looks, what it wrote would "
            f"not be protected: take out {given}, or give the writing to a stream of its own without screen"
        )


def _check_urls(settings: StreamSettings, urls: Urls, resolve: Resolver) -> list[UnresolvedError]:
    """The hosts without an address at this moment, where `resolve` says so. Raises ConfigError for all else."""
    places: list[tuple[str, Purpose]] = [(settings.source, "source")]
    places += [(url, "output") for url in (*(output.url for output in settings.outputs), settings.record) if url]
    unresolved = []
    for url, purpose in places:
        try:
            check_url(url, urls, purpose, resolve)
        except UnresolvedError as exc:
            unresolved.append(exc)
    return unresolved
