"""The one protocol of an inference session. Backends live in files of their own; no one else imports their packages."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..errors import EngineError

Array = npt.NDArray[np.float32]


@runtime_checkable
class Session(Protocol):
    """A loaded engine on one backend. `run` is called from one thread at a time.

    `run` takes one float32 array per input, by name, with a leading batch axis, and returns one float32 array per
    output, by name. It never keeps a reference to its inputs, and the outputs stay valid until the caller drops them.
    Raises EngineError when the shape does not fit or the backend fails.
    """

    backend: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]: ...

    def close(self) -> None: ...


def check_finite(outputs: dict[str, Array]) -> None:
    """Raises EngineError for NaN and infinity: no comparison is true of them, so they would read as "nothing there"."""
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise EngineError(f"the engine's output {name!r} is not finite")
