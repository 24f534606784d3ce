"""The order of an interlaced stream's fields, held from picture to picture."""

from __future__ import annotations

from collections.abc import Callable

import av

from .inner import hidden, set_top_first


class FieldOrder:
    """For libx264, which asks each picture, and changes to its answer with the pictures that it still holds back.

    Pictures of whole frames among those of fields, as in broadcasts, have no order: taken for the other one, they would
    turn that of the half second before them.
    """

    def __init__(self, top_first: bool, warn: Callable[[str], None]) -> None:
        """`top_first` until a picture says otherwise; `warn` is told once of a change."""
        self._top_first = top_first
        self._warn = warn
        self._begun = self._told = False

    def hold(self, picture: av.VideoFrame, seconds: float) -> None:
        """Give a picture that says no order the one of those before it. In place."""
        own = hidden(picture).top_field_first
        if own is None:
            set_top_first(picture, self._top_first)
            return
        if self._begun and own != self._top_first and not self._told:
            self._told = True
            self._warn(
                f"the order of the fields changes at {seconds:.3f} s: the encoder marks pictures just before it with "
                "the new one, and players that deinterlace will judder there: cut the input there and protect its "
                "parts one by one"
            )
        self._top_first, self._begun = own, True
