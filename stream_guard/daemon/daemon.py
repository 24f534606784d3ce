"""The daemon: everything that `Control` promises, over the supervisor's workers, streams and jobs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from ..errors import ConfigError, StreamGuardError
from ..metrics import DAEMON_METRICS, Metrics, expose, families
from .admission import Admission, AdmissionError, Load
from .aggregate import Aggregate
from .asked import asked
from .configuration import at_real_paths, check_stream, disallowed, playlists_of
from .control import ConflictError, Event, Health, JobPhase, JobState, RefusedError, StreamState
from .engine import STATES, Engine
from .file_jobs import FileJobs, Spawner
from .jobs import WorkerExit
from .layering import with_defaults
from .process import Order
from .protocol import Message
from .ring import Ring
from .settings import DaemonSettings, Http, JobSettings, StreamSettings, Token
from .stream import DONE, Around
from .streams import Streams
from .supervisor import Handle, Supervisor

SAMPLE_SECONDS = 1.0

log = logging.getLogger(__name__)


class Daemon:
    """Implements `Control`. `start`, then `drain` and `close` once each; `command` is how tests give other workers."""

    def __init__(self, settings: DaemonSettings, command: Sequence[str] = ()) -> None:
        """Raises UsageError when the state folder or the job queue cannot be used."""
        self.settings = self._begun_with = settings
        self.tokens = settings.http.tokens
        """Who may ask over HTTP at this moment."""
        self.ring = Ring()
        self.own = Metrics(of=DAEMON_METRICS)
        self.aggregate = Aggregate(settings.metrics)
        self.admission = Admission(settings.admission)
        self._supervisor = Supervisor(command, self._tick)
        self._supervisor.named = settings.variables
        self._streams = Streams(Around(self._spawn, self.aggregate, self.ring, self.own))
        self._engine = Engine(self._supervisor.spawn, self.ring)
        spawner = Spawner(self._supervisor, self.aggregate, self._admit_job, self._traces)
        self._jobs = FileJobs(settings, spawner, self.own, self.ring, lambda: self.settings)
        self._draining = threading.Event()
        self._sampled = 0.0
        self._admitting = threading.Lock()
        self._reloaded(True)

    def start(self) -> None:
        self.admission.sample()
        self._supervisor.start()
        self._engine.probe(self.settings)
        self._streams.follow(self.settings.streams, self.settings.drain_seconds)
        self._jobs.runner.start()

    def drain(self) -> None:
        """End everything in good order: streams hand over, jobs checkpoint. Takes at most `drain_seconds` and a bit."""
        if self._draining.is_set():
            return
        self._draining.set()
        self.ring.publish("draining", "the daemon is stopping")
        seconds = self.settings.drain_seconds
        jobs = threading.Thread(target=self._jobs.runner.drain, args=(seconds,), name="stream-guard-drain")
        jobs.start()
        self._streams.stop_all(seconds)
        jobs.join()
        self.ring.close()

    def close(self) -> None:
        """Kill and reap what is left, end every thread."""
        self._draining.set()
        self._supervisor.close()
        self._jobs.close()
        self.ring.close()

    def reload(self, load: Callable[[], DaemonSettings]) -> bool:
        """Take new settings over; False, and all stays as it is, where `load` raises."""
        try:
            settings = load()
            self._check_apart(settings.streams)
        except StreamGuardError as exc:
            return self._not_reloaded(str(exc))
        except Exception as exc:  # a mistake of ours must not end the streams that run
            return self._not_reloaded(f"unexpected {type(exc).__name__}: {exc}", exc)
        kept = [name for name in RESTART if _fixed(settings, name) != _fixed(self._begun_with, name)]
        if kept:
            log.warning("new settings of %s take effect with the next start", ", ".join(kept))
        other_urls = settings.urls != self.settings.urls
        self.settings = settings
        self._supervisor.named = settings.variables
        self.aggregate.settings = settings.metrics
        self.admission.settings = settings.admission
        logging.getLogger("stream_guard").setLevel(settings.log_level.upper())
        done = self._let_in(settings.http.tokens)
        done |= self._streams.follow(settings.streams, settings.drain_seconds)
        if other_urls:
            self._streams.warn_of(lambda stream: disallowed(stream, settings.urls))
        self._engine.probe(settings)
        words = "; ".join(f"{what}: {', '.join(names)}" for what, names in done.items() if names) or "no stream changed"
        log.info("the configuration was reloaded: %s", words)
        self.ring.publish("configuration", f"reloaded: {words}", data={"success": True, **done})
        self._reloaded(True)
        return True

    def _let_in(self, tokens: tuple[Token, ...]) -> dict[str, list[str]]:
        """Ask for these tokens from now on; the names of all, where they changed, as a reload tells it.

        With none the old ones stay: a slip must not open to everybody an API that some had to themselves.
        """
        if not tokens and self.tokens:
            log.warning("http.tokens is empty: the tokens from before are asked for until the next start")
            tokens = self.tokens
        changed, self.tokens = tokens != self.tokens, tokens
        return {"tokens": [token.name for token in tokens] if changed else []}

    def _not_reloaded(self, words: str, surprise: Exception | None = None) -> bool:
        log.error("the configuration was not reloaded, the old one stays: %s", words, exc_info=surprise)
        self.ring.publish("configuration", f"not reloaded, the old one stays: {words}", data={"success": False})
        self._reloaded(False)
        return False

    def _spawn(
        self, order: Order, on_message: Callable[[Message], None], on_exit: Callable[[WorkerExit], None]
    ) -> Handle:
        """Workers of streams are told what URLs are allowed: they check where redirects and playlists lead."""
        name = str(order.spec["name"])
        spec = {**order.spec, "urls": self.settings.urls.model_dump(mode="json"), "tracing": self._traces(name)}
        return self._supervisor.spawn(replace(order, spec=spec), on_message, on_exit)

    def _traces(self, owner: str) -> dict[str, str]:
        """Where the worker of a stream, or of a job, sends traces, and under what name; empty: nowhere."""
        endpoint = self.settings.metrics.tracing
        return {"endpoint": endpoint, "stream": self.aggregate.label(owner)} if endpoint else {}

    def streams(self) -> list[StreamState]:
        return self._streams.states()

    def stream(self, name: str) -> StreamState:
        return self._streams.state(name)

    def output_urls(self) -> list[str]:
        """Where streams push to, with their secrets: for the hooks of a media server that receives them."""
        return self._streams.output_urls()

    def start_stream(self, settings: StreamSettings, origin: Literal["api", "hook"] = "api") -> StreamState:
        chosen = self._checked(settings)
        with self._admitting:  # two at once must not be let into one place
            self._check_playlists(chosen)
            self._admit()
            return self._streams.start(chosen, origin)

    def replace_stream(self, settings: StreamSettings) -> StreamState:
        chosen = self._checked(settings)
        self._mine(settings.name)
        with self._admitting:
            self._check_playlists(chosen)
            if not any(state.name == settings.name and state.phase not in DONE for state in self._streams.states()):
                self._admit()  # what has ended is still listed, but its place may have been given away
            return self._streams.replace(chosen, "api", self.settings.drain_seconds)

    def stop_stream(self, name: str) -> StreamState:
        self._streams.state(name)
        self._mine(name)
        return self._streams.stop(name, self.settings.drain_seconds)

    def snapshot(self, name: str, kind: Literal["original", "protected", "difference"]) -> bytes:
        return self._streams.snapshot(name, kind)

    def jobs(self, phase: JobPhase | None = None, limit: int = 100, before: str | None = None) -> list[JobState]:
        return self._jobs.runner.jobs(phase, limit, before)

    def job(self, id: str) -> JobState:
        return self._jobs.runner.job(id)

    def submit(self, settings: JobSettings, key: str = "") -> tuple[JobState, bool]:
        self._not_draining()
        return self._jobs.runner.submit(settings, key)

    def cancel(self, id: str) -> JobState:
        return self._jobs.runner.cancel(id)

    def events(self, since: int = 0, stream: str = "") -> Iterator[Event | None]:
        return self.ring.read(since, stream)

    def health(self) -> Health:
        state, reason = self._engine.state
        draining = self._draining.is_set()
        reasons = [words for words in (reason, "the daemon is stopping" if draining else "") if words]
        return Health(ready=self._engine.ready and not draining, engine=state, draining=draining, reasons=reasons)

    def metrics(self) -> bytes:
        self._measure()
        return expose([*families(self.own.registry), *self.aggregate.page()])

    def _checked(self, settings: StreamSettings) -> StreamSettings:
        self._not_draining()
        chosen = with_defaults(settings, self.settings.defaults)
        chosen = chosen.model_copy(update=asked(chosen, self.settings))
        chosen = at_real_paths(chosen, self.settings.urls)
        check_stream(chosen, self.settings.urls)
        return chosen

    def _check_playlists(self, chosen: StreamSettings) -> None:
        """Raises ConflictError where another stream writes one of its playlists: each would replace the other's."""
        wanted = set(playlists_of(chosen))
        for other in self._streams.beside(chosen.name) if wanted else ():
            if wanted & set(playlists_of(other)):
                raise ConflictError(f"the stream {other.name!r} writes the same playlist; name another")

    def _check_apart(self, streams: Sequence[StreamSettings]) -> None:
        """Raises ConfigError where one of the file's would write a playlist of a stream of the API, or of a hook."""
        names = {stream.name for stream in streams}
        others = [other for other in self._streams.asked() if other.name not in names]
        written = {path: other.name for other in others for path in playlists_of(other.settings)}
        for stream in streams:
            for path in playlists_of(stream):
                if path in written:
                    words = f"the stream {written[path]!r} that was started by request writes the playlist {path!r}"
                    raise ConfigError(f"{words} of the stream {stream.name!r}; stop it, or name another")

    def _not_draining(self) -> None:
        if self._draining.is_set():
            self.own["admissions_refused"].labels("draining").inc()
            raise RefusedError("the daemon is stopping and takes no more work", 30)

    def _mine(self, name: str) -> None:
        if any(state.name == name and state.origin == "config" for state in self._streams.states()):
            raise ConflictError(f"the stream {name!r} stands in the configuration file; change it there")

    def _admit(self) -> None:
        self._counted(self.admission.check)

    def _admit_job(self) -> None:
        if self._draining.is_set():
            raise RefusedError("the daemon is stopping")
        self._counted(self.admission.check_job)

    def _counted(self, check: Callable[[list[Load]], None]) -> None:
        try:
            check(self._streams.loads())
        except AdmissionError as exc:
            self.own["admissions_refused"].labels(exc.label).inc()
            raise

    def _tick(self) -> None:
        self._streams.tick()
        self._engine.tick()
        if time.monotonic() - self._sampled >= SAMPLE_SECONDS:
            self._sampled = time.monotonic()
            self.admission.sample()
            self._engine.proven(self._streams.running())

    def _measure(self) -> None:
        own, phases = self.own, self._streams.phases()
        for phase in PHASES:
            own["streams"].labels(phase).set(phases[phase])
        state, _ = self._engine.state
        for name in STATES:
            own["daemon_engine_state"].labels(name).set(name == state)
        workers = self._supervisor.processes()
        for kind in ("live", "job", "probe"):
            own["worker_processes"].labels(kind).set(sum(worker[0] == kind for worker in workers))
        own["workers_memory_bytes"].set(sum(worker[2] for worker in workers))
        own["draining"].set(self._draining.is_set())

    def _reloaded(self, success: bool) -> None:
        self.own["configuration_reload_success"].set(success)
        if success:
            self.own["configuration_reload_success_timestamp_seconds"].set_to_current_time()


def _fixed(settings: DaemonSettings, section: str) -> object:
    """What a section of `RESTART` says beside the tokens."""
    value = getattr(settings, section)
    return value.model_copy(update={"tokens": ()}) if isinstance(value, Http) else value


RESTART = ("state_dir", "http", "jobs")
"""Sections that are read at the start only, but for the tokens."""
PHASES = ("starting", "loading", "connecting", "running", "gap", "draining", "ended", "failed")
