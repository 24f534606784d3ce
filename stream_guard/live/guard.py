"""The stages of a live stream: when they fail they are opened anew beside it, and meanwhile the policy rules."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..backoff import Backoff, Waits
from ..chain import Chain
from ..config import OnFailure, PipelineConfig
from ..errors import EngineError, StageError
from ..lane import Lane
from ..outcome import Tally
from ..stages.reasons import ENGINE_FAILED
from ..types import Frame

TOO_SLOW = "too_slow"
DEAD_AFTER = 10
"""So many frames in a row with a face that the engine failed on, and it is opened anew."""
SOUND_AFTER = 50
"""So many frames without a failure, and the next failure is waited for as the first one was."""

log = logging.getLogger(__name__)
Tell = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Reopened:
    """In the queue before the first frame of stages that were opened anew: they number their faces from one again."""


class Guard:
    """Owned by the stages thread. Every frame that goes in leaves once and in order, whatever the stages do.

    `tell(kind, message, **data)` is told of failures and of recoveries. `reopened` is called on the stages thread
    before the first frame goes into stages that were opened anew, after all that were in the ones before have left.
    """

    def __init__(
        self,
        config: PipelineConfig,
        on_failure: OnFailure,
        tally: Tally,
        backoff: Backoff,
        tell: Tell,
        reopened: Callable[[], None],
    ) -> None:
        self._lane = Lane(config, tally, on_failure)
        self._on_failure = on_failure
        self._waits = Waits(backoff)
        self._tell, self._reopened = tell, reopened
        self._open = False
        self._sound = self._failing = 0
        self._fresh: Chain | None = None
        self._lock = threading.Lock()
        self._halt = threading.Event()
        self._helper: threading.Thread | None = None

    def open(self) -> None:
        """Load the engines. Raises what they raise, unless the policy is `pass`: then frames leave unprotected."""
        try:
            self._lane.chain.__enter__()
            self._open = True
        except Exception as exc:
            if self._on_failure is not OnFailure.PASS:
                raise
            self._reopen_later(exc)

    def process(self, frame: Frame) -> Iterator[Frame]:
        """The frames that are ready to leave. Raises StageError or UnprotectedError with `disconnect` only."""
        if self._adopt():
            self._reopened()
        if not self._open:
            yield self._lane.judged(frame, ENGINE_FAILED)
            return
        yield from self._safely(self._lane.process(frame))
        if self._open:
            yield from self._examine()

    def flush(self) -> Iterator[Frame]:
        """What the stages still hold, at the end."""
        if self._open:
            yield from self._safely(self._lane.flush())

    def pause(self) -> Iterator[Frame]:
        """The same; the stages then forget the stream so far, for another connection."""
        if self._open:
            yield from self._safely(self._flushed())

    def bypass(self, frame: Frame) -> Frame:
        """A frame for which there was no time, let go by the policy. Only while the stages hold none."""
        return self._lane.judged(frame, TOO_SLOW)

    @property
    def holds(self) -> bool:
        """Whether the stages hold frames back."""
        return bool(self._lane.chain.due)

    def close(self) -> None:
        """Close what is open and stop opening."""
        self._halt.set()
        if self._helper is not None:
            self._helper.join()
        self._adopt()
        self._close()

    def _flushed(self) -> Iterator[Frame]:
        yield from self._lane.flush()
        self._lane.chain.reset()

    def _safely(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The frames; when a stage fails, those that are in the stages leave by the policy."""
        try:
            for frame in frames:
                self._failing = self._failing + 1 if _engine_failed(frame) else 0
                yield frame
        except StageError as exc:
            if self._on_failure is OnFailure.DISCONNECT or exc.stage == "on_failure":
                raise
            yield from self._fail(exc)

    def _examine(self) -> Iterator[Frame]:
        """An engine that fails without raising, picture after picture, is dead too: what the stages hold leaves first.

        There may be no moment at which they hold nothing: one holds every second picture, the next waits for eight.
        """
        self._sound = 0 if self._failing else self._sound + 1
        if self._sound == SOUND_AFTER:
            self._waits.reset()
        if self._failing < DEAD_AFTER:
            return
        error = EngineError(f"the engine failed on {self._failing} pictures in a row")
        yield from self.flush()
        if self._open:
            self._close()
            self._reopen_later(error)

    def _fail(self, error: StageError) -> Iterator[Frame]:
        due: Iterable[Frame] = self._lane.chain.due
        self._close()
        self._reopen_later(error)
        for frame in due:
            yield self._lane.judged(frame, ENGINE_FAILED)

    def _close(self) -> None:
        if not self._open:
            return
        self._open = False
        try:
            self._lane.chain.__exit__(None, None, None)
        except StageError as exc:
            log.warning("a stage could not be closed: %s", exc)

    def _reopen_later(self, error: Exception) -> None:
        self._sound = self._failing = 0
        wait = self._waits.next()
        self._tell("error", f"{error}; the stages are opened anew in {wait:.1f} s", engine="failed")
        if self._helper is not None:
            self._helper.join()
        self._helper = threading.Thread(target=self._reopen, args=(wait,), name="stream-guard-reopen", daemon=True)
        self._helper.start()

    def _reopen(self, wait: float) -> None:
        """On a thread of its own, so that pictures go on leaving meanwhile."""
        while not self._halt.wait(wait):
            chain = self._lane.new_chain()
            try:
                chain.__enter__()
            except Exception as exc:
                wait = self._waits.next()
                self._tell("error", f"{exc}; the next attempt follows in {wait:.1f} s", engine="failed")
                continue
            with self._lock:
                self._fresh = chain
            return

    def _adopt(self) -> bool:
        """Take over the stages that were opened anew; returns whether there were some."""
        with self._lock:
            fresh, self._fresh = self._fresh, None
        if fresh is None:
            return False
        self._lane.chain, self._open = fresh, True
        self._tell("error", "the stages work again", over=True, engine="ready")
        return True


def _engine_failed(frame: Frame) -> bool:
    return any(face.reason == ENGINE_FAILED for face in frame.unprotected)
