"""The files of an HLS output, written by us: FFmpeg's muxer goes on as if nothing were when a disk is full."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Mapping
from typing import IO
from urllib.parse import quote

from ..containers import suffix_of

WRITE = 2
"""The flag of FFmpeg (AVIO_FLAG_WRITE) with which a file is opened to be written."""


MAP = "#EXT-X-MAP:URI="
NUMBERED = re.compile("%[0-9]*[dv]")
"""What FFmpeg takes, anywhere in a playlist's path, for the place of a number; there is no way to write it plainly."""


UNFIT = ("single_file", "second_level_segment")
"""Flags that need other names than ours, or one file that is begun anew, and cut off, with each opening."""


def names_beside(files: HlsFiles, options: Mapping[str, str]) -> dict[str, str]:
    """The muxer's options that name what lies beside a playlist, so that no other playlist there has these names.

    By themselves cam10.ts is the eleventh segment of cam.m3u8 and the first of cam1.m3u8, and all have one init.mp4.
    Nor is it a name that a recording beside it gets, whose second piece is cam-2.ts.
    """
    ending = "m4s" if options.get("hls_segment_type") == "fmp4" else "ts"
    named = os.path.join(os.path.dirname(files.stem), f"{files.own}_%d.{ending}")
    made = {"hls_fmp4_init_filename": files.init, "hls_segment_filename": named}
    return made if files.number is None else {**made, "start_number": str(files.number)}


class HlsFiles:
    """What one muxer opens. `check` raises the first error: the muxer itself would overlook it.

    A playlist comes to its name when it is whole, and so are the segments that it lists: otherwise the one before is
    left, with its numbers, to the players and to the muxer that carries it on.
    """

    def __init__(self, playlist: str, *, goes_on: bool = False, keeps: bool = True) -> None:
        """`playlist` is the path that the muxer has, which `goes_on` from what lies there; all else are segments.

        Files of ours that no playlist lists any more are deleted unless it `keeps` what is old.
        """
        self._playlist = playlist
        self.stem = playlist.removesuffix(suffix_of(playlist))
        self.own = quote(os.path.basename(self.stem), safe="", errors="surrogateescape").replace("%", "=")
        """What names of files begin with: as it stands they are a URL's, where `#`, `?`, `:` and `%` mean something."""
        segments, inits = _listed(playlist)
        self._inits = {name: inits[name] for name in segments if name in inits} if goes_on else {}
        used = [n for init in inits.values() if (n := self._number(init, "-init-")) is not None]
        self.init = f"{self.own}-init-{max(used, default=-1) + 1}.mp4"
        """What fMP4 segments from now on begin with, of a name that no player knows: the picture's size is in there."""
        known = [n for name in segments if (n := self._number(name, "_")) is not None]
        self.number = None if goes_on or not known else max(known) + 1
        """Of the first segment, where the playlist ended and begins anew: caches still hold the names from before."""
        self._keeps, self._swept = keeps, False
        self._gone: set[str] = set()  # init files that the playlist before this one did not name any more
        self.error: OSError | None = None

    def open(self, path: str, flags: int, options: Mapping[str, str]) -> IO[bytes]:
        """For `av.open(io_open=…)`: the file at `path`. Raises OSError for one that cannot be created."""
        if not flags & WRITE:
            return _read(path)
        return _Playlist(path, self) if path.removesuffix(".tmp") == self._playlist else _Segment(path, self)

    def mapped(self, whole: bytes) -> bytes:
        """The muxer's playlist, which names its own init file for all, with each segment under that which it has."""
        own = f'{MAP}"{self.init}"'
        if not self._inits or own.encode() not in whole:
            return whole
        made: list[str] = []
        tags: list[str] = []
        last = ""
        for line in whole.decode("utf-8", "surrogateescape").splitlines():
            if line != own:
                tags.append(line)
            if line.startswith("#"):
                continue
            init = self._inits.get(line, self.init)
            if init != last:
                at = next((n for n, tag in enumerate(tags) if tag.startswith("#EXTINF")), 0)
                tags.insert(at, f'{MAP}"{init}"')
            made, tags, last = made + tags, [], init
        return "".join(f"{line}\n" for line in made + tags).encode("utf-8", "surrogateescape")

    def sweep(self, whole: bytes) -> None:
        """Delete what is of no use once this playlist is to be had; players may hold the one before a little longer.

        The muxer deletes the segments that it knows of itself: not those from before it, and no init file.
        """
        if self._keeps:
            return
        segments, inits = _named(whole.decode("utf-8", "surrogateescape"))
        gone = set(self._inits.values()) - set(inits.values())
        old, self._gone = self._gone & gone, gone
        if not self._swept:
            self._swept = True
            old |= self._left_behind(segments, {*inits.values(), self.init})
        for name in old:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(os.path.dirname(self._playlist), name))

    def _left_behind(self, segments: list[str], inits: set[str]) -> set[str]:
        """What runs before this one had no time to delete."""
        first = min((n for name in segments if (n := self._number(name, "_")) is not None), default=0)
        try:
            beside = os.listdir(os.path.dirname(self._playlist))
        except OSError:
            return set()
        old = {name for name in beside if (n := self._number(name, "_")) is not None and n < first}
        return old | {name for name in beside if self._number(name, "-init-") is not None and name not in inits}

    def _number(self, name: str, mark: str) -> int | None:
        """That of a segment (mark `_`) or an init file (mark `-init-`) of ours; None for all other names."""
        found = re.fullmatch(rf"{re.escape(self.own + mark)}([0-9]+)\.({'mp4' if 'init' in mark else 'ts|m4s'})", name)
        return None if found is None else int(found[1])

    def failed(self, error: OSError) -> None:
        """Called by the files; a muxer that was told would open and close others in vain before it says so."""
        self.error = self.error or error

    def check(self) -> None:
        """Raises the OSError of the first file that could not be written."""
        if self.error is not None:
            raise self.error


class _Segment(io.FileIO):
    def __init__(self, path: str, files: HlsFiles) -> None:
        super().__init__(path, "w")
        self._files = files

    def write(self, data: bytes) -> int:  # type: ignore[override]
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[super().write(rest) or 0 :]
        except OSError as error:
            self._files.failed(error)
        return len(data)

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:  # some file systems write no sooner
            self._files.failed(error)


class _Playlist(io.BytesIO):
    def __init__(self, path: str, files: HlsFiles) -> None:
        super().__init__()
        self._path, self._files = path, files

    def close(self) -> None:
        if self.closed:
            return
        whole = self._files.mapped(self.getvalue())
        super().close()
        if self._files.error is not None:
            return
        begun = f"{self._path}.new"
        try:
            with open(begun, "wb") as file:
                file.write(whole)
            os.replace(begun, self._path)
            self._files.sweep(whole)
        except OSError as error:
            self._files.failed(error)
            with contextlib.suppress(OSError):
                os.unlink(begun)


def _listed(playlist: str) -> tuple[list[str], dict[str, str]]:
    """As `_named`, of a file; nothing where it cannot be read."""
    try:
        with open(playlist, encoding="utf-8", errors="surrogateescape") as file:
            return _named(file.read())
    except OSError:
        return [], {}


def _named(text: str) -> tuple[list[str], dict[str, str]]:
    """A playlist's segments, and which init file each has; those that have none are not in there."""
    segments: list[str] = []
    inits: dict[str, str] = {}
    init = ""
    for line in text.splitlines():
        if line.startswith(MAP):
            init = line.removeprefix(MAP).split('"')[1]
        elif line and not line.startswith("#"):
            segments.append(line)
            if init:
                inits[line] = init
    return segments, inits


def _read(path: str) -> IO[bytes]:
    """Empty where there is none: a muxer that carries a playlist on goes without."""
    try:
        return open(path, "rb")
    except FileNotFoundError:
        return io.BytesIO()
