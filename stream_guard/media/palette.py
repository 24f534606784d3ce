"""GIF's two oddities: at most 256 colours a picture, and how often the animation plays."""

from __future__ import annotations

import os
import re
from fractions import Fraction

import av
from av.filter import Graph
from av.video.format import VideoFormat

_LOOP = re.compile(rb"\x21\xff\x0bNETSCAPE2\.0\x03\x01(..)\x00", re.DOTALL)


class Palette:
    """Gives each picture a palette of its own."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._key: tuple[int, int, str] | None = None
        self._count = 0

    def apply(self, picture: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
        """The picture in `pal8` at the given size."""
        key = (picture.width, picture.height, picture.format.name)
        if self._graph is None or key != self._key:
            self._graph, self._key = _graph(key, width, height), key
        # The graph wants rising times; the true one is set by whoever encodes the picture.
        picture.pts, picture.time_base = self._count, Fraction(1, 100)
        self._count += 1
        self._graph.vpush(picture)
        return self._graph.vpull()


def _graph(key: tuple[int, int, str], width: int, height: int) -> Graph:
    graph = Graph()
    source = graph.add_buffer(width=key[0], height=key[1], format=VideoFormat(key[2]), time_base=Fraction(1, 100))
    scale = graph.add("scale", f"{width}:{height}")
    split = graph.add("split")
    generate = graph.add("palettegen", "stats_mode=single")
    use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=4")
    sink = graph.add("buffersink")
    source.link_to(scale)
    scale.link_to(split)
    split.link_to(generate, 0, 0)
    split.link_to(use, 1, 0)
    generate.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def gif_loop(path: str) -> str:
    """The gif muxer's `loop` for the animation at `path`: `-1` once, `0` for ever, else how often again."""
    if not path.lower().endswith(".gif") or not os.path.isfile(path):
        return "0"
    with open(path, "rb") as file:
        found = _LOOP.search(file.read(1 << 16))
    return "-1" if found is None else str(int.from_bytes(found.group(1), "little"))
