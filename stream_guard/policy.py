"""What leaves in place of a frame with a face that could not be protected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .config import OnFailure
from .errors import UnprotectedError
from .media import stand_in
from .types import Frame

if TYPE_CHECKING:
    import av

FACES_UNKNOWN = "faces_unknown"
NOT_PROTECTED = "not_protected"


def shortfall(frame: Frame, protects: bool) -> str | None:
    """Why the frame must not leave as it is: the reason of its first unprotected face, or None.

    `protects` says that the pipeline promises protection; a frame in which nobody looked for faces then breaks it. A
    pipeline that only looks, as for screening, promises nothing that a face could break.
    """
    if not protects:
        return None
    if frame.unprotected:
        return frame.unprotected[0].reason or NOT_PROTECTED
    return None if frame.faces_known else FACES_UNKNOWN


class FailurePolicy:
    """Applies `on_failure` to frames in order; for `block` it keeps the last safe picture."""

    def __init__(self, on_failure: OnFailure, protects: bool) -> None:
        self.on_failure = on_failure
        self._protects = protects
        self._safe: Frame | None = None

    def apply(self, frame: Frame, because: str = "") -> str | None:
        """Make `frame` fit to leave; returns why it was not fit (with `pass`: is not), or None.

        `because` says that it is not fit, whatever its faces say: it never saw the stages. A replaced frame keeps its
        own timestamp and the faces that were found; only its pixels change. Raises ValueError when its format cannot be
        written and, with `disconnect`, UnprotectedError.
        """
        reason = because or shortfall(frame, self._protects)
        if reason is None:
            self._safe = frame
        elif self.on_failure is OnFailure.DISCONNECT:
            raise UnprotectedError(reason, frame.time_seconds)
        elif self.on_failure is not OnFailure.PASS:
            stand_in.overwrite(frame.picture, self._content(frame.picture))
        return reason

    def _content(self, picture: av.VideoFrame) -> av.VideoFrame:
        """The last safe picture where `block` has one that fits; black otherwise."""
        if self.on_failure is OnFailure.BLOCK and self._safe is not None:
            safe = self._safe.picture
            if stand_in.layout(safe) == stand_in.layout(picture):
                return safe
        return stand_in.black(picture)
