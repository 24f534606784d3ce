"""Pictures that a player turns and mirrors: all eight display matrices, applied sample by sample."""

from __future__ import annotations

import io
import struct

import av
import numpy as np

from stream_guard.types import Box

Matrix = tuple[int, int, int, int]

MATRICES: dict[str, Matrix] = {
    "as stored": (1, 0, 0, 1),
    "clockwise": (0, 1, -1, 0),
    "half turn": (-1, 0, 0, -1),
    "counterclockwise": (0, -1, 1, 0),
    "left to right": (-1, 0, 0, 1),
    "upside down": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "other diagonal": (0, -1, -1, 0),
}
"""a, b, c, d: a sample at (x, y) is shown at (a x + c y, b x + d y), up to a shift; y points down."""


def shown(samples: np.ndarray, matrix: Matrix) -> np.ndarray:
    """What a player shows of stored samples (H, W, ...)."""
    a, b, c, d = matrix
    y, x = np.mgrid[: samples.shape[0], : samples.shape[1]]
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    made = np.empty((down.max() + 1, across.max() + 1, *samples.shape[2:]), samples.dtype)
    made[down, across] = samples
    return made


def stored(samples: np.ndarray, matrix: Matrix) -> np.ndarray:
    """What must be stored for a player to show these samples."""
    a, b, c, d = matrix
    return shown(samples, (a, c, b, d))  # such a matrix is undone by its transpose


def stored_box(box: Box, size: tuple[int, int], matrix: Matrix) -> Box:
    """A box of whole pixels in the shown picture of `size` (height, width), in the stored one."""
    inside = np.zeros(size, bool)
    inside[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = True
    rows, columns = np.nonzero(stored(inside, matrix))
    return Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def turned_file(rgb: np.ndarray, matrix: Matrix, pix_fmt: str = "yuv444p") -> bytes:
    """A lossless mp4 of one picture that a player shows as `rgb`, whose track header has this matrix."""
    kept, buffer = np.ascontiguousarray(stored(rgb, matrix)), io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *kept.shape[:2], pix_fmt
        container.mux(stream.encode(av.VideoFrame.from_ndarray(kept, format="rgb24").reformat(format=pix_fmt)))
        container.mux(stream.encode(None))
    return with_matrix(buffer.getvalue(), matrix)


def with_matrix(mp4: bytes, matrix: tuple[float, float, float, float]) -> bytes:
    """The file with another matrix in its track header."""
    data = bytearray(mp4)
    # ISO 14496-12: the matrix stands 40 bytes behind the version and flags of tkhd; 16.16 fixed point, row by row.
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (round(value * 65536) for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return bytes(data)


def decoded(data: bytes) -> av.VideoFrame:
    with av.open(io.BytesIO(data)) as container:
        return next(container.decode(video=0))


def turned_picture(rgb: np.ndarray, matrix: Matrix) -> av.VideoFrame:
    """A decoded picture that a player shows as `rgb`."""
    return decoded(turned_file(rgb, matrix))
