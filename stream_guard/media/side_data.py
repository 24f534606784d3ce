"""What a decoded picture brings along beside its samples, by FFmpeg's names."""

from __future__ import annotations

import struct
from typing import Any, cast

import av
from av.sidedata.sidedata import SideDataContainer, Type


def _unknown(cls: type[Type], value: int) -> Type:
    made: Any = object.__new__(cls)
    made._name_, made._value_ = f"UNKNOWN_{value}", value
    return cast(Type, made)


# PyAV shows nothing of a picture that has one kind it does not know, such as EXIF (31): not the others either.
Type._missing_ = classmethod(_unknown)  # type: ignore[assignment]


def side_data(picture: av.VideoFrame) -> dict[str, bytes]:
    """The picture's side data by kind; kinds that PyAV does not know are called `UNKNOWN_` and their number."""
    return {item.type.name: bytes(memoryview(item)) for item in _container(picture)}


def kinds(picture: av.VideoFrame) -> set[str]:
    """Which kinds there are."""
    return {item.type.name for item in _container(picture)}


def display_matrix(picture: av.VideoFrame) -> list[int] | None:
    """The nine numbers of the display matrix, or None where the picture is shown as it is."""
    raw = _container(picture).get("DISPLAYMATRIX")
    return list(struct.unpack_from("=9i", memoryview(raw))) if raw is not None and raw.buffer_size >= 36 else None


def _container(picture: av.VideoFrame) -> Any:
    """What `picture.side_data` is the first time it is asked for.

    PyAV keeps it, and it points into memory that `make_writable` frees where it copies the picture. The stubs call it a
    mapping of names; it is a sequence of side data as well.
    """
    return cast(Any, SideDataContainer)(picture)
