"""The one interface of a stage. A stage knows frames and its own options: no files, no metrics, no neighbours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from ..types import Frame


class StageOptions(BaseModel):
    """Options of a stage. Unknown keys are refused; each field carries a description that `stages` prints."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Stage(ABC):
    """Takes frames in order and returns them in order. One required method; the rest have defaults.

    A stage is built from its options alone, opened once, fed frame by frame and closed once, also after an error: by
    one thread at a time, but not always by the same one (a live stream opens stages anew beside those that fail).
    `process` returns the frames that are ready: usually the one it got, possibly none yet (a stage that batches) and
    never one out of order. `flush` returns what is still held. A frame keeps its time and its size.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    Options: ClassVar[type[StageOptions]] = StageOptions
    protects: ClassVar[bool] = False
    """Whether the stage protects faces. A pipeline with such a stage answers for every face that leaves it."""
    finds_faces: ClassVar[bool] = False
    """Whether it sets `faces` and `faces_known`."""
    needs_faces: ClassVar[bool] = False
    """Whether a stage that finds faces must stand before it."""
    on_device: ClassVar[bool] = False
    """Whether it takes pictures that lie in a CUDA device's memory, whose planes are no buffers (`media.device`)."""
    labels: ClassVar[tuple[str, ...]] = ()
    """The words of its verdicts, for a stage that judges."""

    def __init__(self, options: StageOptions | None = None) -> None:
        self.options = options if options is not None else self.Options()

    @classmethod
    def changes(cls, options: StageOptions) -> bool:
        """Whether it writes into pictures, with these options."""
        return cls.protects

    def open(self) -> None:
        """Load engines and the like. An error here ends the run before a frame is read."""

    def about(self) -> dict[str, str]:
        """What `open` loaded, for reports and metrics: `engine`, `backend`, `sha256` where there is an engine."""
        return {}

    @abstractmethod
    def process(self, frame: Frame) -> Iterable[Frame]:
        """The frames that are ready after this one, in order."""

    def flush(self) -> Iterable[Frame]:
        """The frames still held at the end of the stream."""
        return ()

    def reset(self) -> None:
        """Forget the stream so far, after `flush`: the next frame is the first of another clip. Engines may stay."""
        self.close()
        self.open()

    def close(self) -> None:
        """Free what `open` took. Called once, also after an error."""
