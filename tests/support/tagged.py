"""Clips whose colour tags are known."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

HEIGHT, WIDTH = 120, 160
RED, BLUE = (180, 40, 40), (40, 60, 180)
LUMA = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}
"""Kr and Kb of H.273's matrices. PyAV's own conversion knows fewer of them in its older series."""


def luma(matrix: int) -> tuple[float, float]:
    return LUMA[{6: 5, 2: 1}.get(matrix, matrix)]


def samples(colour: tuple[int, int, int], matrix: int, full: bool) -> list[int]:
    """Y, Cb and Cr in 8 bits, by H.273."""
    (kr, kb), (r, g, b) = luma(matrix), np.array(colour) / 255
    y = kr * r + (1 - kr - kb) * g + kb * b
    chroma = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    ranges = (255, 0, 255) if full else (219, 16, 224)
    return [round(ranges[0] * y + ranges[1]), *(round(ranges[2] * c + 128) for c in chroma)]


def clip(
    path: Path, matrix: int = 1, full: bool = False, curve: int = 1, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> bytes:
    """Eight pictures, red above blue, as a transport stream with these tags."""
    made = av.VideoFrame(*size, "yuv420p")
    for plane, red, blue in zip(made.planes, *(samples(c, matrix, full) for c in (RED, BLUE)), strict=True):
        half = plane.buffer_size // 2
        plane.update(bytes([red]) * half + bytes([blue]) * (plane.buffer_size - half))
    made.color_range, made.colorspace = 1 + full, matrix
    with av.open(str(path), "w", format="mpegts") as out:
        stream = out.add_stream("libx264", rate=25, options={"qp": "4", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        context = stream.codec_context
        context.color_range, context.colorspace = 1 + full, matrix
        context.color_primaries, context.color_trc = 1, curve
        for k in range(8):
            made.pts = k
            out.mux(stream.encode(made))
        out.mux(stream.encode(None))
    return path.read_bytes()
