"""The stages and the failure policy of one video stream."""

from __future__ import annotations

from collections.abc import Iterator

from .chain import Chain
from .config import OnFailure, PipelineConfig
from .errors import StageError
from .outcome import Tally
from .policy import FailurePolicy
from .types import Frame


class Lane:
    """Tracks and safe pictures of two streams must not mix, so each has a lane. `chain` is opened by its owner."""

    def __init__(self, config: PipelineConfig, tally: Tally, on_failure: OnFailure | None = None) -> None:
        """`on_failure` instead of the pipeline's own; the tally must have been made for the same."""
        self._specs = config.stages
        self._rule = on_failure or config.on_failure, config.protects
        self._policy = FailurePolicy(*self._rule)
        self._tally = tally
        self.chain = self.new_chain()

    def new_chain(self) -> Chain:
        """The stages once more, not open: to take the place of a chain that failed."""
        return Chain(self._specs, self._tally)

    def process(self, frame: Frame) -> Iterator[Frame]:
        return (self.judged(out) for out in self.chain.process(frame))

    def flush(self) -> Iterator[Frame]:
        return (self.judged(out) for out in self.chain.flush())

    def restart(self) -> None:
        """Stages and policy forget the stream so far, after `flush`."""
        self.chain.reset()
        self._policy = FailurePolicy(*self._rule)

    def judged(self, frame: Frame, because: str = "") -> Frame:
        """The frame made fit to leave, and counted; `because` as in FailurePolicy.apply.

        Raises StageError where its format cannot be written, UnprotectedError with `disconnect`.
        """
        try:
            reason = self._policy.apply(frame, because)
        except ValueError as exc:
            raise StageError("on_failure", frame.time_seconds, exc) from exc
        self._tally.judged(frame, reason)
        return frame
