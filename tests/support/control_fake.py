"""A daemon that only pretends: its streams count by the clock, its jobs advance, its pictures are drawn."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

from PIL import Image, ImageChops, ImageDraw

from stream_guard.daemon.control import (
    ConflictError,
    Event,
    Health,
    JobPhase,
    JobState,
    MissingError,
    RefusedError,
    StreamState,
)
from stream_guard.daemon.settings import JobSettings, StreamSettings
from stream_guard.errors import ConfigError
from stream_guard.live.spec import LivePhase, LiveStatus
from stream_guard.talking_head import portrait

FPS = 25
JOB_SECONDS = 20.0


class FakeControl:
    """Keeps to the protocol's promises, with a lock. `silence` is the seconds after which `events` yields None."""

    def __init__(self, most_streams: int = 8, silence: float = 0.1, clock: Callable[[], float] = time.time) -> None:
        self.changed = threading.Condition()
        self.clock, self.silence, self.most_streams = clock, silence, most_streams
        self.schemes: tuple[str, ...] = ("rtmp://", "rtsp://", "http://", "udp://")
        self.state = Health(ready=True, engine="ready")
        self.told: list[Event] = []
        self.closed = False
        self.listening = 0
        self._streams: dict[str, StreamState] = {}
        self._jobs: dict[str, JobState] = {}
        self._keys: dict[str, tuple[JobSettings, str]] = {}

    # Streams

    def streams(self) -> list[StreamState]:
        with self.changed:
            return [self._now(state) for state in self._streams.values()]

    def stream(self, name: str) -> StreamState:
        with self.changed:
            return self._now(self._found(name))

    def start_stream(self, settings: StreamSettings, origin: Literal["api", "hook"] = "api") -> StreamState:
        with self.changed:
            if settings.name in self._streams:
                raise ConflictError(f"a stream named {settings.name} is there already; stop it or PUT it anew")
            if len(self._streams) >= self.most_streams:
                raise RefusedError(f"{self.most_streams} streams run and the CPU has no room for one more", 10)
            return self._start(settings, origin)

    def replace_stream(self, settings: StreamSettings) -> StreamState:
        with self.changed:
            return self._start(settings, "api")

    def stop_stream(self, name: str) -> StreamState:
        with self.changed:
            state = self._found(name)
            if state.origin == "config":
                raise ConflictError(f"{name} is in the configuration file; take it out there")
            del self._streams[name]
            self.tell("phase", f"{name} is draining", stream=name)
            return self._now(state).model_copy(update={"phase": "draining"})

    def snapshot(self, name: str, kind: Literal["original", "protected", "difference"]) -> bytes:
        with self.changed:
            if self._now(self._found(name)).phase == "connecting":
                raise MissingError(f"{name} has shown no picture yet")
        original = picture(int(self.clock()))
        protected = ImageChops.add(original, noise(original.size))
        shown = {
            "original": original,
            "protected": protected,
            "difference": ImageChops.difference(original, protected).point(lambda value: min(255, value * 16)),
        }[kind]
        data = io.BytesIO()
        shown.save(data, "jpeg", quality=85)
        return data.getvalue()

    # Jobs

    def jobs(self, phase: JobPhase | None = None, limit: int = 100, before: str | None = None) -> list[JobState]:
        with self.changed:
            found = [self._progress(job) for job in reversed(self._jobs.values())]
            if before is not None:
                found = found[[job.id for job in found].index(self.job(before).id) + 1 :]
            return [job for job in found if phase in (None, job.phase)][:limit]

    def job(self, id: str) -> JobState:
        with self.changed:
            if id not in self._jobs:
                raise MissingError(f"there is no job {id}")
            return self._progress(self._jobs[id])

    def submit(self, settings: JobSettings, key: str = "") -> tuple[JobState, bool]:
        with self.changed:
            if key in self._keys:
                before, id = self._keys[key]
                if before != settings:
                    raise ConflictError("this Idempotency-Key came with other settings before; take a new one")
                return self._progress(self._jobs[id]), False
            if "://" in settings.source and "" not in self.schemes:
                raise ConfigError(f"source {settings.source} is not a file below a file root")
            job = self._queue(settings)
            if key:
                self._keys[key] = (settings, job.id)
            return job, True

    def cancel(self, id: str) -> JobState:
        job = self.job(id)
        with self.changed:
            if job.phase == "ended":
                raise ConflictError(f"job {id} has ended already, as {job.outcome}")
            ended = {"phase": "ended", "outcome": "aborted", "ended": self.clock()}
            self._jobs[id] = job.model_copy(update=ended)
            self.tell("job", f"job {id} was cancelled", job=id)
            return self._jobs[id]

    # The rest

    def events(self, since: int = 0, stream: str = "") -> Iterator[Event | None]:
        with self.changed:
            self.listening += 1
        try:
            while not self.closed:
                with self.changed:
                    news = [event for event in self.told if event.id > since]
                    if not news:
                        self.changed.wait(self.silence)
                if not news:
                    yield None
                for event in news:
                    since = event.id
                    if stream in ("", event.stream):
                        yield event
        finally:
            with self.changed:
                self.listening -= 1
                self.changed.notify_all()

    def health(self) -> Health:
        return self.state

    def metrics(self) -> bytes:
        text = "# HELP stream_guard_active_streams Streams.\n# TYPE stream_guard_active_streams gauge\n"
        return (text + f"stream_guard_active_streams {len(self._streams)}\n").encode()

    # For tests

    def tell(
        self, kind: str, message: str, stream: str = "", job: str = "", data: dict[str, Any] | None = None
    ) -> None:
        with self.changed:
            event = Event(len(self.told) + 1, self.clock(), kind, message, stream, job, data)
            self.told.append(event)
            self.changed.notify_all()

    def put(self, state: StreamState) -> None:
        """A stream as the test wants it; a status that is given is shown as it is."""
        with self.changed:
            self._streams[state.name] = state

    def put_job(self, job: JobState) -> None:
        with self.changed:
            self._jobs[job.id] = job

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def _found(self, name: str) -> StreamState:
        if name not in self._streams:
            raise MissingError(f"there is no stream {name}")
        return self._streams[name]

    def _start(self, settings: StreamSettings, origin: Literal["api", "hook"]) -> StreamState:
        if not settings.source.startswith(self.schemes):
            raise ConfigError(
                f"source {settings.source} has a scheme that is not allowed; allowed: rtmp, rtsp, http, udp"
            )
        state = StreamState(
            name=settings.name,
            origin=origin,
            phase="running",
            source=hidden(settings.source),
            outputs=[hidden(output.url) for output in settings.outputs],
            started=self.clock(),
        )
        self._streams[settings.name] = state
        self.tell("phase", f"{settings.name} is running", stream=settings.name)
        return self._now(state)

    def _now(self, state: StreamState) -> StreamState:
        """Counts as they are by the clock; a status given by the test stays."""
        if state.status:
            return state
        frames = int((self.clock() - state.started) * FPS)
        dropped = frames // 500
        status = LiveStatus(
            phase=LivePhase(state.phase),
            frames_in=frames,
            frames_out=frames - dropped,
            dropped={"late": dropped} if dropped else {},
            faces=frames,
            protected_faces=frames,
            fps=float(FPS),
            latency_seconds=0.041,
            width=1280,
            height=720,
            outputs=tuple(
                {"url": url, "state": "open", "bytes": frames * 12_500, "reconnects": 0, "dropped": 0}
                for url in state.outputs
            ),
            engines={"disrupt": {"name": "disrupter-small", "state": "ready"}},
        )
        return state.model_copy(update={"status": status.to_json()})

    def _queue(self, settings: JobSettings) -> JobState:
        now = self.clock()
        seed = f"{len(self._jobs)} {settings.source}"
        job = JobState(
            id=hashlib.sha256(seed.encode("utf-8", "replace")).hexdigest()[:12],
            phase="running",
            kind=settings.kind,
            source=settings.source,
            output=settings.output,
            priority=settings.priority,
            attempts=1,
            created=now,
            started=now,
        )
        self._jobs[job.id] = job
        self.tell("job", f"job {job.id} is running", job=job.id)
        return job

    def _progress(self, job: JobState) -> JobState:
        if job.phase != "running" or job.progress or job.started is None:
            return job
        share = (self.clock() - job.started) / JOB_SECONDS
        if share < 1:
            return job.model_copy(update={"progress": share})
        ended = {"phase": "ended", "outcome": "completed", "progress": 1.0, "ended": job.started + JOB_SECONDS}
        return job.model_copy(update=ended)


def hidden(url: str) -> str:
    """A URL without its last part, which may be a stream key, and without its query."""
    return url.partition("?")[0].rpartition("/")[0] + "/..."


def picture(moment: int) -> Image.Image:
    """A portrait that sways with the second, 480 x 270."""
    image = Image.new("RGB", (480, 270), (54, 70, 92))
    image.paste(portrait().resize((270, 270)), (105 + 15 * (moment % 3), 0))
    return image


def noise(size: tuple[int, int]) -> Image.Image:
    """A faint pattern over the middle of a picture, at most 6 of 255."""
    tile = Image.effect_noise(size, 40).point(lambda value: value % 7).convert("RGB")
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).ellipse((170, 5, 300, 130), fill=255)
    return Image.composite(tile, Image.new("RGB", size), mask)
