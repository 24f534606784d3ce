"""All live streams of the daemon: starting, replacing, stopping, and what the configuration file wants of them."""

from __future__ import annotations

import base64
import functools
import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Literal

from ..live.spec import LivePhase
from .admission import Load
from .control import ConflictError, MissingError, StreamState
from .engine import Chosen, chosen
from .protocol import Message
from .settings import StreamSettings
from .stream import Around, Origin, Stream

ENDED_SECONDS, MOST_ENDED = 600.0, 200
"""Streams of the API and of hooks that ended are shown this long, and at most so many of them."""
SNAPSHOT_SECONDS = 5.0

log = logging.getLogger(__name__)


class Streams:
    """Thread-safe. Callbacks of workers and `tick` come on the supervisor's thread, all else on any."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._streams: dict[str, Stream] = {}
        self._successors: dict[str, tuple[StreamSettings, Origin]] = {}

    def states(self) -> list[StreamState]:
        with self._lock:
            return [stream.state() for stream in self._streams.values()]

    def state(self, name: str) -> StreamState:
        """Raises MissingError."""
        with self._lock:
            return self._get(name).state()

    def output_urls(self) -> list[str]:
        with self._lock:
            return [output.url for stream in self._streams.values() for output in stream.settings.outputs]

    def beside(self, name: str) -> list[StreamSettings]:
        """What the streams of other names run with that have not ended."""
        with self._lock:
            return [s.settings for s in self._streams.values() if s.name != name and not s.done]

    def start(self, settings: StreamSettings, origin: Origin) -> StreamState:
        """Start it, or let it wait for a stream of its name that is being stopped. Raises ConflictError."""
        with self._lock:
            old = self._streams.get(settings.name)
            if old is not None and not old.done and not (old.stopping and settings.name not in self._successors):
                raise ConflictError(
                    f"a stream {settings.name!r} runs already; stop or replace it, or choose another name"
                )
            return self._put(settings, origin, 0.0)

    def replace(self, settings: StreamSettings, origin: Origin, within: float) -> StreamState:
        """Drain a stream of this name, then start it with these settings; start it where there is none."""
        with self._lock:
            return self._put(settings, origin, within)

    def stop(self, name: str, within: float) -> StreamState:
        """Drain and remove. Raises MissingError."""
        with self._lock:
            stream = self._get(name)
            self._successors.pop(name, None)
            stream.stop(within)
            state = stream.state()
            if stream.done:
                self._remove(stream)
            return state

    def stop_all(self, within: float) -> None:
        """Drain every stream; returns when all have ended."""
        with self._changed:
            self._successors.clear()
            for stream in self._streams.values():
                stream.rest(within)
            self._changed.wait_for(lambda: all(stream.done for stream in self._streams.values()), within + 5.0)

    def snapshot(self, name: str, kind: Literal["original", "protected", "difference"]) -> bytes:
        """A JPEG. Raises MissingError where there is no such stream, no picture yet or no answer."""
        answers: queue.SimpleQueue[Message] = queue.SimpleQueue()
        with self._lock:
            if not self._get(name).ask_snapshot(kind, answers.put):
                raise MissingError(f"the stream {name!r} does not run, so there is no picture of it")
        try:
            answer = answers.get(timeout=SNAPSHOT_SECONDS)
        except queue.Empty:
            raise MissingError(f"the stream {name!r} gave no picture within {SNAPSHOT_SECONDS:g} s") from None
        if "jpeg" not in answer:
            raise MissingError(f"no picture of the stream {name!r}: {answer.get('error', 'no reason given')}")
        return base64.b64decode(answer["jpeg"])

    def follow(self, wanted: Iterable[StreamSettings], within: float) -> dict[str, list[str]]:
        """Make the configuration's streams these; those that failed are tried again.

        Returns names by what was done: started, replaced, stopped.
        """
        done: dict[str, list[str]] = {"started": [], "replaced": [], "stopped": []}
        with self._lock:
            names = set()
            for settings in wanted:
                names.add(settings.name)
                old = self._streams.get(settings.name)
                if old is not None and old.goes_on(settings):
                    continue
                done["started" if old is None else "replaced"].append(settings.name)
                self._put(settings, "config", within)
            for stream in list(self._streams.values()):
                if stream.origin == "config" and stream.name not in names:
                    done["stopped"].append(stream.name)
                    self.stop(stream.name, within)
        return done

    def warn_of(self, why: Callable[[StreamSettings], str]) -> None:
        """Tell of streams of the API and of hooks that would not be started any more; `why` is empty for others.

        They run on, as what the file does not name is not the file's to end, but nobody shall think them gone.
        """
        for stream in self.asked():
            words = why(stream.settings)  # not under the lock: a name server may take its time
            if words:
                told = f"not allowed any longer, and runs on until it is stopped or its worker ends: {words}"
                stream.tell("configuration", told, level=logging.WARNING)

    def asked(self) -> list[Stream]:
        """The streams of the API and of hooks that have not ended."""
        with self._lock:
            return [stream for stream in self._streams.values() if stream.origin != "config" and not stream.done]

    def loads(self) -> list[Load]:
        """What each stream that has not ended takes."""
        with self._lock:
            return [stream.load() for stream in self._streams.values() if not stream.done]

    def running(self) -> list[Chosen]:
        """What the streams run whose pictures pass through their stages now."""
        with self._lock:
            return [chosen(s.settings) for s in self._streams.values() if s.phase is LivePhase.RUNNING]

    def phases(self) -> Counter[str]:
        with self._lock:
            return Counter(stream.phase.value for stream in self._streams.values())

    def tick(self) -> None:
        """Restart what is due, forget what ended long ago."""
        with self._lock:
            for stream in list(self._streams.values()):
                if stream.due():
                    self._launch(stream)
            ended = [s for s in self._streams.values() if s.done and s.origin != "config"]
            for number, stream in enumerate(reversed(ended)):
                if number >= MOST_ENDED or monotonic() - (stream.ended_at or 0.0) > ENDED_SECONDS:
                    self._remove(stream)

    def _put(self, settings: StreamSettings, origin: Origin, within: float) -> StreamState:
        old = self._streams.get(settings.name)
        if old is not None and not old.done:
            self._successors[settings.name] = settings, origin
            if not old.stopping:
                old.make_way(settings, within)
        if old is not None and not old.done:
            return old.state()
        self._successors.pop(settings.name, None)
        stream = Stream(settings, origin, self._around)
        self._streams.pop(settings.name, None)  # the order is that of starting
        self._streams[settings.name] = stream
        self._launch(stream)
        stream.tell("phase", "starting", {"phase": LivePhase.STARTING.value})
        return stream.state()

    def _launch(self, stream: Stream) -> None:
        stream.launch(functools.partial(self._guarded, stream))

    def _guarded(self, stream: Stream, callback: Callable[..., None]) -> Callable[..., None]:
        def called(*given: object) -> None:
            with self._changed:
                callback(*given)
                if stream.done:
                    self._settle(stream)

        return called

    def _settle(self, stream: Stream) -> None:
        """It has ended: start what waited for its name, or take it off the table where it was stopped."""
        successor = self._successors.pop(stream.name, None)
        if self._streams.get(stream.name) is stream:
            if successor is not None:
                self._put(*successor, 0.0)
            elif stream.stopping:
                self._remove(stream)
        self._changed.notify_all()

    def _remove(self, stream: Stream) -> None:
        if self._streams.get(stream.name) is stream:
            del self._streams[stream.name]
            self._around.aggregate.removed(stream.name)

    def _get(self, name: str) -> Stream:
        if name not in self._streams:
            running = ", ".join(self._streams) or "none"
            raise MissingError(f"there is no stream {name!r}; streams: {running[:500]}")
        return self._streams[name]
