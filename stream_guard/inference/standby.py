"""A session that is never without a backend: the next one works while a plan is built, and when a GPU is lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import EngineError, FeedError, GpuMemoryError, StoppedError
from .builder import Progress
from .session import Array, Session, check_finite
from .watch import EngineEvent, Kind, listener

_log = logging.getLogger(__name__)

OUT_OF_MEMORY = "out_of_memory"
RUN_FAILED = "run_failed"
REASONS: tuple[str, ...] = (RUN_FAILED, OUT_OF_MEMORY)
"""Why a session moved to the next backend; these words are metric labels. `run_failed`: the GPU was lost, or the
backend raised; `out_of_memory`: other programs took the GPU's memory."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend that can be opened, later and on another thread."""

    backend: str
    open: Callable[[], Session]


def first_open(choices: list[Choice]) -> tuple[Choice, Session]:
    """The first that opens; it and those before it are taken from the list.

    Raises EngineError with what each said where none does.
    """
    failures = []
    while choices:
        choice = choices.pop(0)
        try:
            return choice, choice.open()
        except Exception as error:  # whatever a library raises that does not fit this machine, the next one may work
            why = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
            _log.info("backend %s can't take the engine: %s", choice.backend, why)
            failures.append(f"{choice.backend}: {why}")
    raise EngineError("no backend can load the engine. " + " | ".join(failures or ["none is installed"]))


Prepare = Callable[[Callable[[Progress], None], threading.Event], Session]
"""Builds and opens the better session, telling of its progress; ends soon, with StoppedError, once the event is set."""


class StandbySession:
    """Runs on the first of `choices` that opens, and on what `prepare` makes as soon as that is ready.

    A run that fails is done again, with the same batch, on the choices that are left; the failed one is not tried
    again. Where all fail the first error is raised and nothing changes: it may be the batch. Feeds that do not fit are
    refused at once. What happens is told to the listener of `watch` that was there when this was made. With `finite` a
    run that gives NaN or infinity has failed too.
    """

    def __init__(
        self, choices: Sequence[Choice], preferred: str = "", prepare: Prepare | None = None, finite: bool = False
    ) -> None:
        self._tell = listener()
        self._finite = finite
        self._left = list(choices)
        self._lock = threading.Lock()
        self._next: Session | None = None
        self._closed = False
        self._stop = threading.Event()
        self._choice, self._session = first_open(self._left)
        self.backend = self._session.backend
        """The one that works now."""
        self.inputs, self.outputs = self._session.inputs, self._session.outputs
        self._helper: threading.Thread | None = None
        if prepare is not None:
            self._event("building", preferred, message="waiting to begin")
            self._helper = threading.Thread(
                target=self._prepare, args=(preferred, prepare), name="stream-guard-build", daemon=True
            )
            self._helper.start()

    @property
    def building(self) -> bool:
        """Whether a better one is on its way."""
        return self._helper is not None and self._helper.is_alive()

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        if self._closed:
            raise EngineError("the session was closed")
        self._swap()
        try:
            return self._results(self._session, feeds)
        except FeedError:
            raise
        except EngineError as error:
            return self._fall_back(feeds, error)

    def close(self) -> None:
        """Stop the build, if one runs, and free what is open."""
        self._closed = True
        self._stop.set()
        if self._helper is not None:
            self._helper.join()
        with self._lock:
            waiting, self._next = self._next, None
        if waiting is not None:
            waiting.close()
        self._session.close()

    def _results(self, session: Session, feeds: dict[str, Array]) -> dict[str, Array]:
        outputs = session.run(feeds)
        if self._finite:
            check_finite(outputs)
        return outputs

    def _swap(self) -> None:
        """Take what is ready, between two runs. What worked so far is the first choice for when that fails."""
        if self._next is None:
            return
        with self._lock:
            fresh, self._next = self._next, None
        if fresh is None:
            return
        old, self._session = self._session, fresh
        self.backend = fresh.backend
        self._left.insert(0, self._choice)
        old.close()
        _log.info("the engine moved from %s to %s", old.backend, fresh.backend)
        self._event("swapped", fresh.backend, message=f"the engine runs on {fresh.backend} now")

    def _fall_back(self, feeds: dict[str, Array], error: EngineError) -> dict[str, Array]:
        failed, before = self._session, list(self._left)
        while self._left:
            try:
                choice, session = first_open(self._left)
            except EngineError:
                break
            try:
                results = self._results(session, feeds)
            except EngineError as another:
                _log.info("%s can't run it either: %s", choice.backend, another)
                session.close()
                continue
            self._choice, self._session = choice, session
            self.backend = session.backend
            failed.close()
            reason = OUT_OF_MEMORY if isinstance(error, GpuMemoryError) else RUN_FAILED
            _log.warning("%s failed, the engine goes on with %s: %s", failed.backend, session.backend, error)
            self._event("fallback", session.backend, message=str(error), reason=reason)
            return results
        self._left = before
        raise error

    def _prepare(self, preferred: str, prepare: Prepare) -> None:
        def watch(progress: Progress) -> None:
            self._event("building", preferred, progress.phase, progress.fraction, progress.left_seconds)

        try:
            fresh = prepare(watch, self._stop)
        except StoppedError:
            return
        except Exception as error:  # whatever it is, the stream goes on as it is
            _log.warning("%s can't be used, the engine stays on %s: %s", preferred, self.backend, error)
            self._event("build_failed", preferred, message=str(error), reason=str(error))
            return
        with self._lock:
            self._next = fresh
        self._event("built", preferred, message="ready, taken with the next picture")

    def _event(
        self,
        kind: Kind,
        backend: str,
        message: str = "",
        fraction: float | None = None,
        left_seconds: float | None = None,
        reason: str = "",
    ) -> None:
        serving = self._session.backend
        self._tell(EngineEvent(kind, backend, serving, message, fraction, left_seconds, reason))
