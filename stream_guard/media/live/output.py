"""One output on a thread of its own: connects, muxes, drops when it is slow, and comes back by itself."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from fractions import Fraction

import av
from av.error import FFmpegError

from ...backoff import Backoff, Waits
from ...errors import MediaError
from ..clock import DtsGuard
from ..info import SinkReport
from .contract import Tell
from .mould import Mould
from .places import Place
from .redact import redact_text
from .units import Unit

QUEUE_BYTES = 16 << 20
QUEUE_SECONDS = 3.0
"""An output that is further behind than one of these drops what waits and goes on at the next key frame."""
STEADY_SECONDS = 5.0
"""A connection that lasted this long counts as one that works."""


class Output:
    """Feeds one place. `put` never waits. `want_key` is set when the encoder should make a key frame for it."""

    def __init__(self, place: Place, mould: Mould, retry: Backoff, tell: Tell, kind: str = "output") -> None:
        self._place, self._mould, self._kind = place, mould, kind
        self._waits = Waits(retry)
        self._tell = tell
        self._changed = threading.Condition()
        self._units: deque[Unit] = deque()
        self._held = 0
        self._blind = True
        """Whether everything up to the next key frame is left out."""
        self._ending = self._given_up = False
        self._attempts = 0
        self.want_key = False
        self.state, self.error = "waiting", ""
        self.bytes = self.pictures = self.reconnects = self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=f"output-{place.format}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def status(self) -> dict[str, object]:
        """As `LiveStatus.outputs`; `dropped` counts pictures."""
        return {
            "url": self._place.shown,
            "state": self.state,
            "bytes": self.bytes,
            "reconnects": self.reconnects,
            "dropped": self.dropped,
            "error": self.error,
        }

    def put(self, unit: Unit) -> None:
        with self._changed:
            if self._ending or self.state == "failed":
                self.dropped += unit.video
                return
            if self._overfull(unit) or (self.state != "open" and unit.key):
                self._forget()
            if self._blind and not unit.key:
                self.dropped += unit.video
                return
            self._blind = False
            self._units.append(unit)
            self._held += len(unit.data)
            self._changed.notify_all()

    def end(self, *, for_good: bool = True) -> None:
        """Nothing more will come: what waits is written, then the place is closed; as `LiveWriter.close`."""
        with self._changed:
            self._place.for_good = for_good
            self._ending = True
            self._changed.notify_all()

    def abort(self) -> None:
        """End now; may be called after `end`."""
        with self._changed:
            self._ending = self._given_up = True
            self._forget()
            self._changed.notify_all()
        self._place.abort()

    def join(self, seconds: float) -> bool:
        """Whether the thread has ended within this time."""
        self._thread.join(max(seconds, 0.0))
        return not self._thread.is_alive()

    def _overfull(self, unit: Unit) -> bool:
        if not self._units:
            return False
        first = self._units[0]
        behind = unit.dts * unit.time_base - first.dts * first.time_base
        return self._held + len(unit.data) > QUEUE_BYTES or behind > QUEUE_SECONDS

    def _forget(self) -> None:
        """Drop all that waits; a key frame is wanted where the connection stands."""
        self.dropped += sum(unit.video for unit in self._units)
        self._units.clear()
        self._held, self._blind = 0, True
        self.want_key = self.state == "open"

    def _run(self) -> None:
        while not self._over():
            begun = time.monotonic()
            try:
                self._session()
            except (MediaError, FFmpegError, OSError, ValueError) as error:
                reason = redact_text(str(getattr(error, "strerror", None) or error), self._place.url)
            else:
                break
            with self._changed:
                if self._ending:
                    break
            if time.monotonic() - begun > STEADY_SECONDS:
                self._waits.reset()
            wait = self._waits.next()
            if self._waits.used_up:
                self._fail(reason)
                return
            self._say("waiting", f"{self._place.shown} failed ({reason}); it is tried again", reason)
            self._pause(wait)
        with self._changed:
            self.state = "waiting"

    def _session(self) -> None:
        """One connection, from opening to the end of the stream. Raises when it is lost."""
        clean = False
        out: av.container.OutputContainer | None = None
        try:
            out = self._open()
            self._feed(out)
            out.close()
            self._check_files()
            clean = not self._given_up
        finally:
            if not clean:
                self._discard(out)
            self.reconnects += not clean and self.state == "open" and not self._given_up
            words = self._place.done(clean=clean)
            if words:
                self._tell(self._kind, words, state=self.state)

    def _open(self) -> av.container.OutputContainer:
        self._attempts += 1
        file = self._place.open()
        files, options = self._place.files, self._place.muxer_options
        opens = None if files is None else files.open
        out = av.open(file, "w", format=self._place.format, container_options=options, io_open=opens)
        try:
            self._streams = self._mould.cast(out, self._place.format)
            out.start_encoding()
        except BaseException:
            self._discard(out)
            raise
        report = SinkReport()
        self._guards = {n: DtsGuard(Fraction(s.time_base or 1), report) for n, s in self._streams.items()}
        with self._changed:
            if self._attempts > 1:
                self._forget()  # What waited is old: begin with now.
                self.want_key = True
        self._say("open", f"{self._place.shown} is open")
        return out

    def _feed(self, out: av.container.OutputContainer) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._units or self._ending)
                if not self._units:
                    return
                unit = self._units.popleft()
                self._held -= len(unit.data)
            stream = self._streams.get(unit.stream)
            if stream is None:
                continue  # Another form of the sound.
            packet = unit.packet()
            self._guards[unit.stream].fix(packet)
            packet.stream = stream
            try:
                out.mux(packet)
                self._check_files()
            except BaseException:
                self.dropped += unit.video
                raise
            self.bytes += len(unit.data)
            self.pictures += unit.video

    def _check_files(self) -> None:
        """Raises OSError for a file that the muxer opened by itself and could not write."""
        if self._place.files is not None:
            self._place.files.check()

    def _discard(self, out: av.container.OutputContainer | None) -> None:
        """Close a muxer whose place is gone: a flow that says so is sent no trailer."""
        flow = self._place.flow
        if flow is not None:
            flow.abort()
            flow.closed, was = True, flow.closed
        if out is not None:
            with contextlib.suppress(MediaError, FFmpegError, OSError, ValueError):
                out.close()
        if flow is not None:
            flow.closed = was

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ending, seconds)

    def _over(self) -> bool:
        """Whether to stop: at once when given up, and when nothing more will come and nothing waits to be sent."""
        with self._changed:
            return self._given_up or (self._ending and not self._units)

    def _fail(self, reason: str) -> None:
        with self._changed:
            self.state, self.error = "failed", reason
            self._forget()
        self._tell(self._kind, f"{self._place.shown} failed for good: {reason}", state="failed")

    def _say(self, state: str, words: str, error: str = "") -> None:
        with self._changed:
            self.state, self.error = state, error
        self._tell(self._kind, words, state=state)
