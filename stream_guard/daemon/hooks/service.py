"""What becomes of a media server's calls: streams started and stopped, publishers and players let in or refused."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import cast

from ...config import load_pipeline
from ...errors import StreamGuardError
from ..control import ConflictError, Control, MissingError, RefusedError
from ..settings import HookSettings
from . import mediamtx, nginx_rtmp, ovenmediaengine, srs
from .messages import (
    Answer,
    Call,
    Decision,
    Dialect,
    HookError,
    Place,
    Play,
    Publish,
    Request,
    Unpublish,
    first,
    plain,
    refused,
    same,
)
from .patterns import check_name, fill, keys_of, leads_to, screening_name, screening_settings, stream_settings
from .screening import OVER, Screening

DIALECTS: Mapping[str, ModuleType] = {
    "nginx-rtmp": nginx_rtmp,
    "mediamtx": mediamtx,
    "srs": srs,
    "ovenmediaengine": ovenmediaengine,
}
DRAINING = "draining"
"""A stream started now begins when the one of before, of the same name, has ended."""

log = logging.getLogger(__name__)


def _nothing() -> tuple[str, ...]:
    return ()


class Hooks:
    """All hooks of the daemon. Thread-safe; `handle` blocks as long as `Control` does, at most a few seconds.

    `outputs` gives the URLs that the other streams push to, with their secrets: on a server whose publishers all pass
    a hook, these must pass as well.
    """

    def __init__(
        self,
        control: Control,
        settings: Mapping[str, HookSettings],
        outputs: Callable[[], Iterable[str]] = _nothing,
    ) -> None:
        self._control, self._others = control, outputs
        self.update(settings)
        self._locks = [threading.RLock() for _ in range(64)]
        self._publishers: dict[str, frozenset[str]] = {}
        """By stream, the connections that publish it. A second one that the server itself refuses comes and goes."""
        self._outputs: dict[str, tuple[str, ...]] = {}
        self._looking: dict[str, str] = {}
        """By stream, the one that was started beside it to look at the same."""
        self._screening = Screening(control, self._reject, self._blind)

    def update(self, settings: Mapping[str, HookSettings]) -> None:
        """Take new settings; streams that run keep theirs."""
        self._settings: dict[str, HookSettings] = dict(settings)
        for name, hook in settings.items():
            if not hook.secret:
                log.warning("hook %s has no secret: whoever reaches the API can start and stop its streams", name)

    def close(self) -> None:
        """Stop watching. Streams are the daemon's to stop."""
        self._screening.close()

    def handle(self, name: str, call: Call) -> Answer:
        """The answer to a call of /hooks/`name`. Raises MissingError for a hook that is not set."""
        settings = self._settings.get(name)
        if settings is None:
            raise MissingError("no such hook; the `hooks` section of the settings names them")
        dialect = cast(Dialect, DIALECTS[settings.dialect])
        if not dialect.authentic(call, settings):
            log.warning("hook %s: a call without the right secret was refused", name)
            return plain(refused("the secret or the signature is missing or wrong"))
        try:
            decision = self._decide(settings, dialect.read(call, settings))
        except StreamGuardError as error:
            decision = _as_decision(error)
        if not decision.allowed:
            log.warning("hook %s: refused: %s", name, decision.reason)
        return dialect.answer(call, decision)

    def _decide(self, settings: HookSettings, request: Request) -> Decision:
        if isinstance(request, Publish):
            return self._published(settings, request)
        if isinstance(request, Unpublish):
            return self._unpublished(settings, request.place)
        if isinstance(request, Play):
            return _played(settings, request.place)
        return Decision(True)

    def _published(self, settings: HookSettings, request: Publish) -> Decision:
        place = request.place
        if place.app != settings.application:
            return self._published_elsewhere(settings, place)
        if not _has_token(settings, place):
            return refused("the publisher's token is missing or wrong")
        check_name(place)
        rejected = self._screening.rejected(place.name)
        if rejected and settings.screen == "route" and settings.redirect:
            return Decision(True, rejected, redirect=fill(settings.redirect, place))
        if rejected and settings.screen in ("reject", "route"):
            return refused(rejected)
        if request.starts:
            with self._lock(place.name):
                self._start(settings, place)
        return Decision(True, redirect="" if settings.screen == "route" else fill(settings.redirect, place))

    def _published_elsewhere(self, settings: HookSettings, place: Place) -> Decision:
        """Our own protected output comes back to the same server: it must pass, and must not be protected again."""
        ours = (url for urls in list(self._outputs.values()) for url in urls)
        for url in (*ours, *self._others()):
            if leads_to(url, place) and all(same(first(place.query, key), value) for key, value in keys_of(url)):
                return Decision(True)
        return refused(f"publish to the application {settings.application!r}; others receive protected streams only")

    def _unpublished(self, settings: HookSettings, place: Place) -> Decision:
        if place.app == settings.application:
            with self._lock(place.name):
                left = self._publishers.get(place.name, frozenset()) - {place.client}
                if left:
                    self._publishers[place.name] = left
                else:
                    self._end(place.name)
        return Decision(True)

    def _start(self, settings: HookSettings, place: Place) -> None:
        """Start what is not running yet. Raises ConflictError, RefusedError and ConfigError of the daemon."""
        name, known = place.name, self._publishers.get(place.name, frozenset())
        phase = self._phase(name)
        if phase and (phase not in (*OVER, DRAINING) or place.client in known):
            self._publishers[name] = known | {place.client}
            return
        if phase in OVER:
            self._end(name)
        chosen = stream_settings(settings, place)
        self._outputs[name] = tuple(output.url for output in chosen.outputs)
        self._publishers[name] = frozenset({place.client})
        try:
            self._control.start_stream(chosen, "hook")
            self._screen(settings, place)
        except StreamGuardError:
            self._end(name)
            raise

    def _screen(self, settings: HookSettings, place: Place) -> None:
        """Look at what is published: beside its protection, or instead of it where the hook has no outputs."""
        if settings.screen == "off":
            return
        watched = screening_name(place.name) if settings.outputs else place.name
        policy = dict(load_pipeline(screening_settings(settings, place).pipeline).reject)
        try:
            if settings.outputs:
                self._control.start_stream(screening_settings(settings, place), "hook")
                self._looking[place.name] = watched
        except StreamGuardError as error:
            if settings.screen != "allow":
                raise
            log.warning("stream %s goes on without screening: %s", place.name, error)
        if settings.screen != "allow":
            self._screening.watch(place.name, watched, policy)

    def _reject(self, name: str, reason: str) -> None:
        with self._lock(name):
            log.warning("stream %s is rejected and ends: %s", name, reason)
            self._end(name)

    def _blind(self, name: str) -> None:
        with self._lock(name):
            log.warning("stream %s ends: nothing looks at it any more, and its hook screens what is published", name)
            self._end(name)

    def _phase(self, name: str) -> str:
        """The phase of a stream that a hook started, empty where there is none. Raises ConflictError for others."""
        try:
            state = self._control.stream(name)
        except MissingError:
            return ""
        if state.origin != "hook":
            raise ConflictError("a stream of this name was started by other means; publish under another name")
        return state.phase

    def _end(self, name: str) -> None:
        """Stop what a hook started under this name, and its screening."""
        self._screening.forget(name)
        self._outputs.pop(name, None)
        self._publishers.pop(name, None)
        looking = self._looking.pop(name, None)
        for stream in (name, looking) if looking else (name,):
            try:
                if self._control.stream(stream).origin == "hook":
                    self._control.stop_stream(stream)
            except (MissingError, ConflictError):
                continue

    def _lock(self, name: str) -> threading.RLock:
        return self._locks[hash(name) % len(self._locks)]


def _played(settings: HookSettings, place: Place) -> Decision:
    """What is published unprotected may be played with the publishers' token only: that is how we pull it."""
    if place.app == settings.application and not _has_token(settings, place):
        return refused("this application is not protected yet; play the protected one")
    return Decision(True)


def _has_token(settings: HookSettings, place: Place) -> bool:
    given = [value for key, value in place.query if key == "token"]
    return not settings.publish_token or any(same(value, settings.publish_token) for value in given)


def _as_decision(error: StreamGuardError) -> Decision:
    if isinstance(error, RefusedError):
        return Decision(False, str(error), 503, retry_after_seconds=error.retry_after_seconds)
    status = 400 if isinstance(error, HookError) else 409 if isinstance(error, ConflictError) else 403
    return refused(str(error), status)
