"""The stages of one run, folded once: each call with one timer and one error context."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from .config import StageSpec
from .errors import StageError, StreamGuardError
from .inference.watch import EngineEvent, listening
from .outcome import Tally
from .stages.base import Stage
from .types import Face, Frame, Verdict

FAULTS = (Exception, SystemExit, GeneratorExit)
"""What a stage may raise: a library that exits must not end the run as if all were done."""


class Step:
    """One stage, timed and with its errors named."""

    def __init__(self, spec: StageSpec, tally: Tally) -> None:
        self.name = spec.name
        self._build = spec.build
        self._tally = tally
        self._stage: Stage | None = None

    def open(self) -> None:
        """Build and open the stage. Our own errors pass as they are: nothing runs yet, so there is no frame to name."""
        try:
            stage = self._build()
            self._stage = stage
            with listening(self._told):
                stage.open()
            self._tally.loaded(self.name, stage.about())
        except StreamGuardError:
            raise
        except FAULTS as exc:
            raise StageError(self.name, None, exc) from exc

    def _told(self, event: EngineEvent) -> None:
        """Of the engine's way from one backend to another, on whatever thread it happens.

        Swaps and fallbacks happen inside `process`: then the stage says anew what it runs on.
        """
        self._tally.engine_told(self.name, event)
        if self._stage is not None and event.kind in ("swapped", "fallback"):
            self._tally.loaded(self.name, self._stage.about())

    def process(self, frame: Frame) -> list[Frame]:
        stage = self._opened()
        return self._call(lambda: stage.process(frame), frame)

    def flush(self) -> list[Frame]:
        return self._call(self._opened().flush, None)

    def reset(self) -> None:
        stage = self._opened()
        try:
            with listening(self._told):  # a stage may open its engine anew
                stage.reset()
        except FAULTS as exc:
            raise StageError(self.name, None, exc) from exc

    def close(self) -> None:
        stage, self._stage = self._stage, None
        if stage is not None:
            self._tally.unloaded(self.name)
            stage.close()

    def _opened(self) -> Stage:
        if self._stage is None:
            raise StageError(self.name, None, RuntimeError("it is not open"))
        return self._stage

    def _call(self, call: Callable[[], Iterable[Frame]], frame: Frame | None) -> list[Frame]:
        try:
            with self._tally.timed(self.name, frame):
                # A stage may be a generator: its work happens here, inside timer and context.
                return _frames(call())
        except FAULTS as exc:
            raise StageError(self.name, None if frame is None else frame.time_seconds, exc) from exc


def _frames(returned: object) -> list[Frame]:
    """What a stage gave out, if it is frames: said of the stage here, where its name is still known."""
    if isinstance(returned, Frame) or not isinstance(returned, Iterable):
        raise TypeError(f"it returned {_kind(returned)}, not a list of the frames that are ready, such as [frame]")
    frames = list(returned)
    for frame in frames:
        if not isinstance(frame, Frame):
            raise TypeError(f"it returned {_kind(frame)} where a frame is expected")
        if frame.picture is None:
            raise TypeError("it returned a frame without a picture")
        for what, wanted in ((frame.faces, Face), (frame.verdicts, Verdict)):
            for item in what:
                if not isinstance(item, wanted):
                    raise TypeError(f"its frame holds {_kind(item)} where a {wanted.__name__} is expected")
    return frames


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a value of the type {type(value).__name__}"


def _size(frame: Frame) -> tuple[int, int]:
    return frame.width, frame.height


class Chain:
    """All steps in order. Checks that every frame that goes in comes out once, in order and in its own size."""

    def __init__(self, specs: Iterable[StageSpec], tally: Tally) -> None:
        self._steps = tuple(Step(spec, tally) for spec in specs)
        self._due: deque[Frame] = deque()

    def __enter__(self) -> Chain:
        try:
            for step in self._steps:
                step.open()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close every stage, also when one of them fails to; that failure counts only where nothing failed before."""
        failure = self._close()
        if kind is None and failure is not None:
            raise failure

    def process(self, frame: Frame) -> Iterator[Frame]:
        """The frames that are ready after `frame`."""
        self._due.append(frame)
        return self._through([frame], 0)

    def flush(self) -> Iterator[Frame]:
        """The frames still held by any stage; raises StageError when one was lost on the way."""
        for position, step in enumerate(self._steps):
            yield from self._through(step.flush(), position + 1)
        if self._due:
            raise self._broken(f"{len(self._due)} frame(s) were kept back, the first at", self._due[0])

    def reset(self) -> None:
        """Every stage forgets the stream so far; after `flush`."""
        for step in self._steps:
            step.reset()

    @property
    def due(self) -> tuple[Frame, ...]:
        """The frames that went in and have not come out, oldest first, as they went in."""
        return tuple(self._due)

    def _close(self) -> StageError | None:
        first: StageError | None = None
        for step in reversed(self._steps):
            try:
                step.close()
            except FAULTS as exc:
                first = first or StageError(step.name, None, exc)
        return first

    def _through(self, frames: list[Frame], start: int) -> Iterator[Frame]:
        """Each frame through all steps before the next one: of those that a stage held, the first need not wait."""
        for frame in frames:
            if start < len(self._steps):
                yield from self._through(self._steps[start].process(frame), start + 1)
            else:
                self._check_order(frame)
                yield frame

    def _check_order(self, frame: Frame) -> None:
        if not self._due or self._due[0].index != frame.index:
            raise self._broken(f"frame #{frame.index} came out of turn at", frame)
        due = self._due[0]
        if (due.pts, due.time_base) != (frame.pts, frame.time_base):
            raise self._broken(f"the time of frame #{frame.index} was changed; it came at", due)
        if _size(due) != _size(frame):  # its faces would lie elsewhere than their boxes say
            was, came = ("{}x{}".format(*_size(each)) for each in (due, frame))
            raise self._broken(f"the picture of frame #{frame.index} went in as {was} and came out as {came}, at", due)
        self._due.popleft()

    def _broken(self, what: str, frame: Frame) -> StageError:
        names = " + ".join(step.name for step in self._steps)
        return StageError(names, None, RuntimeError(f"{what} {frame.time_seconds:.3f} s"))
