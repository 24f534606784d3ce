"""The files of an HLS output, written by us: FFmpeg's muxer goes on as if nothing were when a disk is full."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Mapping
from typing import IO

from ..containers import suffix_of

WRITE = 2
"""The flag of FFmpeg (AVIO_FLAG_WRITE) with which a file is opened to be written."""


MAP = "#EXT-X-MAP:URI="
NUMBERED = re.compile("%[0-9]*[dv]")
"""What FFmpeg takes, anywhere in a playlist's path, for the place of a number; there is no way to write it plainly."""


def names_beside(files: HlsFiles, options: Mapping[str, str]) -> dict[str, str]:
    """The muxer's options that name what lies beside a playlist, so that no other playlist there has these names.

    By themselves cam10.ts is the eleventh segment of cam.m3u8 and the first of cam1.m3u8, and all have one init.mp4.
    """
    stem, made = files.stem, {"hls_fmp4_init_filename": files.init}
    if "single_file" not in options.get("hls_flags", ""):
        ending = "m4s" if options.get("hls_segment_type") == "fmp4" else "ts"
        made["hls_segment_filename"] = f"{stem}-%d.{ending}"
    return made


class HlsFiles:
    """What one muxer opens. `check` raises the first error: the muxer itself would overlook it.

    A playlist comes to its name when it is whole, and so are the segments that it lists: otherwise the one before is
    left, with its numbers, to the players and to the muxer that carries it on.
    """

    def __init__(self, playlist: str, *, goes_on: bool = False) -> None:
        """`playlist` is the path that the muxer has, which `goes_on` from what lies there; all else are segments."""
        self._playlist = playlist
        self.stem = playlist.removesuffix(suffix_of(playlist))
        self._inits = _inits(playlist) if goes_on else {}
        used = [int(number) for init in self._inits.values() for number in re.findall(r"-init-([0-9]+)\.mp4\Z", init)]
        self.init = f"{os.path.basename(self.stem)}-init-{max(used, default=-1) + 1}.mp4"
        """What fMP4 segments from now on begin with, of a name that no player knows: the picture's size is in there."""
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
        except OSError as error:
            self._files.failed(error)
            with contextlib.suppress(OSError):
                os.unlink(begun)


def _inits(playlist: str) -> dict[str, str]:
    """Which init file each segment of a playlist has, by name; empty where it has none or cannot be read."""
    found, init = {}, ""
    try:
        with open(playlist, encoding="utf-8", errors="surrogateescape") as file:
            for line in file.read().splitlines():
                if line.startswith(MAP):
                    init = line.removeprefix(MAP).split('"')[1]
                elif init and not line.startswith("#"):
                    found[line] = init
    except OSError:
        return {}
    return found


def _read(path: str) -> IO[bytes]:
    """Empty where there is none: a muxer that carries a playlist on goes without."""
    try:
        return open(path, "rb")
    except FileNotFoundError:
        return io.BytesIO()
