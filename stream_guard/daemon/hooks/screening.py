"""Watches the verdicts on what is published, and says when content is to be rejected."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from ...errors import StreamGuardError
from ..control import Control, MissingError, StreamState

Policy = Mapping[str, Collection[str]]
"""By stage, the labels that speak against the content: `reject` of the pipeline."""
UNKNOWN = "unknown"
OVER = frozenset({"ended", "failed"})
PATIENCE = 5
"""Looks that find nobody screening any more before a publication ends for it: by itself it may be ending too."""
ENOUGH = 25
"""Verdicts other than `unknown` before anything is decided."""
SHARE = 0.5
"""Share of rejecting ones among them from which content is rejected."""
REMEMBERED_SECONDS = 600.0
"""How long a rejected name is refused."""
MOST_REMEMBERED = 10_000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Rejected:
    reason: str
    until: float


def judge(verdicts: Mapping[str, int], policy: Policy) -> str:
    """Why content with these counts by `stage:label` is rejected; empty while it is not.

    `unknown` decides nothing, whatever the policy says of files: a live stream may begin with an empty chair.
    """
    for stage, labels in policy.items():
        counts = {key.partition(":")[2]: n for key, n in verdicts.items() if key.partition(":")[0] == stage}
        known = sum(n for label, n in counts.items() if label != UNKNOWN)
        against = sum(counts.get(label, 0) for label in labels if label != UNKNOWN)
        if known >= ENOUGH and against >= SHARE * known:
            return f"the stage {stage!r} speaks against {against} of {known} faces"
    return ""


class Screening:
    """A thread, started with the first stream to watch, that reads the streams' status every `every_seconds`."""

    def __init__(
        self,
        control: Control,
        on_reject: Callable[[str, str], None],
        on_blind: Callable[[str], None],
        every_seconds: float = 1.0,
    ) -> None:
        """`on_blind(name)`: what is published as `name` goes on, the stream that looked at it is over or gone."""
        self._control, self._on_reject, self._on_blind, self._every = control, on_reject, on_blind, every_seconds
        self._watched: dict[str, tuple[str, Policy]] = {}
        self._blind: Counter[str] = Counter()
        self._rejected: dict[str, _Rejected] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, name: str, watched: str, policy: Policy) -> None:
        """Judge the stream `name` by the verdicts of the stream `watched`, until `forget`."""
        with self._lock:
            self._watched[name] = watched, policy
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="screening", daemon=True)
                self._thread.start()

    def forget(self, name: str) -> None:
        with self._lock:
            self._watched.pop(name, None)
            self._blind.pop(name, None)

    def rejected(self, name: str) -> str:
        """Why what was published as `name` was rejected in the last minutes; empty where it was not."""
        with self._lock:
            past = self._rejected.get(name)
            if past is not None and past.until < time.monotonic():
                del self._rejected[name]
                past = None
            return past.reason if past is not None else ""

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            with self._lock:
                watched = dict(self._watched)
            for name, (stream, policy) in watched.items():
                self._look(name, stream, policy)

    def _look(self, name: str, stream: str, policy: Policy) -> None:
        state = self._state(stream)
        verdicts = state.status.get("verdicts") if state is not None else None
        reason = judge(verdicts, policy) if isinstance(verdicts, dict) else ""
        if not reason:
            self._see(name, stream, state is not None and state.phase not in OVER)
            return
        self.forget(name)
        self._remember(name, reason)
        try:
            self._on_reject(name, reason)
        except StreamGuardError as error:
            log.error("stream %s was rejected (%s) but could not be stopped: %s", name, reason, error)

    def _remember(self, name: str, reason: str) -> None:
        """The longest ago make room: names that nobody publishes again would fill it up for good."""
        with self._lock:
            self._rejected.pop(name, None)
            while len(self._rejected) >= MOST_REMEMBERED:
                del self._rejected[next(iter(self._rejected))]
            self._rejected[name] = _Rejected(reason, time.monotonic() + REMEMBERED_SECONDS)

    def _state(self, stream: str) -> StreamState | None:
        try:
            return self._control.stream(stream)
        except MissingError:
            return None

    def _see(self, name: str, stream: str, there: bool) -> None:
        """Nothing is published unseen: once nobody has looked for `PATIENCE` looks, `on_blind` says so."""
        with self._lock:
            if name not in self._watched:
                return
            self._blind[name] = 0 if there else self._blind[name] + 1
            if self._blind[name] < PATIENCE:
                return
        self.forget(name)
        if stream == name:
            return  # what looked is all that there was
        try:
            self._on_blind(name)
        except StreamGuardError as error:
            log.error("stream %s is screened no longer but could not be stopped: %s", name, error)
