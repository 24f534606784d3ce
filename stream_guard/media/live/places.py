"""Where an output goes: a wire, a bridge, a path, or a recording that gets its name at a clean end."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Sequence
from typing import Protocol

from av.format import ContainerFormat

from ...errors import ConfigError, SinkError, UsageError
from ..containers import container_for, suffix_of
from . import bridge
from .contract import Dial, LiveOutput, as_named
from .native import Wire, protocols
from .playlist import NUMBERED, UNFIT, HlsFiles, names_beside
from .protocols import MUXERS, file_path, outgoing, scheme_of
from .redact import is_path, redact
from .trial import refused

OPEN_SECONDS = 10.0
WRITE_SECONDS = 10.0
PARTIAL = ".partial"
ROOM_BYTES = 16 << 20
"""Free on the disk before a recording that was cut off is begun again: else each bit that others free makes a file."""
INTERLEAVE_MICROSECONDS = "100000"
"""How long pictures wait in the muxer for sound that is late or missing; FFmpeg's own 10 s would be the delay."""


class Flow(Protocol):
    """A file-like place with time limits."""

    closed: bool

    def write(self, data: bytes) -> int: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


class Place:
    """One output's address. `open` may be called again after `done`; files that are there are not replaced."""

    def __init__(self, output: LiveOutput, dial: Dial = as_named) -> None:
        self.url = output.url
        self.shown = redact(output.url)
        self.format = _checked_format(output)
        self.flow: Flow | None = None
        self.files: HlsFiles | None = None
        """What an HLS muxer opens by itself, since the last `open`; the output's thread asks it for errors."""
        self._rule = outgoing(output.url)
        if self.playlist and NUMBERED.search(self.playlist):
            raise ConfigError(f"the playlist {self.shown} has %d or %v in its path, where FFmpeg would put a number")
        self._options, self._dial = dict(output.options), dial
        for flag in UNFIT if self.playlist else ():
            if flag in self._options.get("hls_flags", ""):
                words = f"has {flag} in hls_flags, which cannot work here"
                raise ConfigError(f"the playlist {self.shown} {words}; leave it out")
        self._check_values()
        self._goes_on = False
        self.for_good = True
        """Whether the stream is over with the end that comes: players of a playlist that ended never come back."""
        self._given_up = threading.Event()
        if self._bridged:
            bridge.check(self.url)

    @property
    def playlist(self) -> str:
        """The path of an HLS output; else nothing."""
        return self._path() if self.format == "hls" and self._rule is None else ""

    @property
    def muxer_options(self) -> dict[str, str]:
        """What the muxer gets, the output's own options last."""
        live = {"flush_packets": "1", "max_interleave_delta": INTERLEAVE_MICROSECONDS}
        own = {} if self._bridged else self._options
        made = {**live, **dict(MUXERS.get(self.format, ())), **own}
        if self.files is not None:
            made = {**names_beside(self.files, made), **made}
        if self.ends:
            made["hls_flags"] += "+omit_endlist"
        if self._goes_on:
            made["hls_flags"] += "+append_list+discont_start"
        return made

    def open(self) -> Flow | str:
        """What the muxer writes to: a flow, or the path of a file. Raises SinkError."""
        if self._rule is None:
            path = self._path()
            if self.format != "hls":
                return _free(path)
            self._goes_on = path in _BEGUN or _unfinished(path)
            made = self.muxer_options
            keeps = "delete_segments" not in made["hls_flags"] or made["hls_list_size"] == "0"
            self.files = HlsFiles(path, goes_on=self._goes_on, keeps=keeps)
            _BEGUN.add(path)
            return path
        if self._bridged:
            url, options = self._dial(self.url, self._options)
            self.flow = bridge.writer(url, options, write_seconds=WRITE_SECONDS)
            return self.flow
        own = {k: v for k, v in self._options.items() if k in WIRE_OPTIONS}
        url, options = self._dial(self.url, {**dict(self._rule.wire), **own})
        # Known to `abort` before it connects: a host that takes the call and says nothing keeps it for ten seconds.
        self.flow = wire = Wire(url, options, open_seconds=OPEN_SECONDS, write_seconds=WRITE_SECONDS)
        if self._given_up.is_set():
            wire.abort()
        wire.open()
        return wire

    def abort(self) -> None:
        """From any thread and for good: what waits ends soon."""
        self._given_up.set()
        flow = self.flow
        if flow is not None:
            flow.abort()

    def done(self, *, clean: bool) -> str:
        """The muxer is closed. Returns words worth telling, or nothing."""
        flow, self.flow = self.flow, None
        if flow is not None:
            flow.close()
        return _ended(self._path()) if clean and self.for_good and self.ends else ""

    @property
    def ends(self) -> bool:
        """Whether this is a playlist whose end is ours to write, since the muxer knows of no `for_good`."""
        return self.format == "hls" and "omit_endlist" not in self._options.get("hls_flags", "")

    def _check_values(self) -> None:
        """A muxer says no more than `Invalid argument`, and each time that the output is opened."""
        found = refused(self.format, {} if self._bridged else self._options)
        if found is not None:
            words = f"has {found[0]}: {found[1]!r}, a value that FFmpeg's muxer {self.format} does not take"
            raise ConfigError(f"the output {self.shown} {words}; `ffmpeg -h muxer={self.format}` lists those it takes")

    def _path(self) -> str:
        """Absolute, so that no name is taken for a protocol; with `file:` HLS would not find what to delete."""
        return os.path.abspath(file_path(self.url))

    @property
    def _bridged(self) -> bool:
        return self._rule is not None and scheme_of(self.url) not in protocols(output=True)


WIRE_OPTIONS = frozenset(
    {"pkt_size", "ttl", "localaddr", "buffer_size", "tcp_nodelay", "tls_verify", "ca_file", "verifyhost"}
)
"""An output's options that are the protocol's; the others are the muxer's."""


class Recording(Place):
    """A file beside the outputs. It is written as NAME.partial and never replaces another one."""

    ends = False

    def __init__(self, path: str) -> None:
        super().__init__(LiveOutput(path))
        if not is_path(path):
            raise UsageError(f"the recording {self.shown} is no file; give a path such as stream.mkv")
        folder = os.path.dirname(self._path())
        if not os.path.isdir(folder):
            raise UsageError(f"the folder {folder!r} of the recording does not exist; create it first")
        self._partial, self._cut_off = "", False

    def open(self) -> str:
        """As `Place.open`; after a piece that was cut off it raises SinkError where the next one soon would be."""
        if self._cut_off and shutil.disk_usage(os.path.dirname(self._path())).free < ROOM_BYTES:
            raise SinkError(f"it was cut off, and less than {ROOM_BYTES >> 20} MiB of the disk are free")
        self._partial = _free(self._path() + PARTIAL)
        return self._partial

    def done(self, *, clean: bool) -> str:
        partial, self._partial = self._partial, ""
        if not partial:
            return ""
        if not os.path.exists(partial):
            if clean:
                raise SinkError(f"the recording {partial!r} was taken away while it was written, and is lost")
            return ""
        if not clean:
            if os.path.getsize(partial):
                self._cut_off = True
                return f"the recording ended early and is kept as {partial!r}"
            with contextlib.suppress(OSError):
                os.unlink(partial)
            return ""
        final = _free(self._path())
        try:
            os.rename(partial, final)
        except OSError as error:
            raise SinkError(f"cannot name the recording {partial!r}: {error.strerror}") from error
        return f"the recording is whole: {final!r}"


def check_places(outputs: Sequence[LiveOutput], record: str) -> None:
    """Raises ConfigError, UsageError or SinkError for an output or a recording that no sink could write to."""
    written = playlists(outputs)
    if len(set(written)) < len(written):
        raise ConfigError("two outputs are one playlist; give each a name of its own")
    if record:
        Recording(record)


def playlists(outputs: Sequence[LiveOutput]) -> list[str]:
    """The paths of those that are HLS: of two writers, each would replace the other's. Raises as `check_places`."""
    return [place.playlist for place in map(Place, outputs) if place.playlist]


def end_playlists(outputs: Sequence[LiveOutput]) -> list[str]:
    """Say in those that are HLS that nothing follows, where whoever wrote them did not; words on what failed."""
    ours = [place for place in map(Place, outputs) if place.playlist and place.ends]
    return [words for place in ours if _unfinished(place.playlist) and (words := _ended(place.playlist))]


def _checked_format(output: LiveOutput) -> str:
    """The muxer's name. Raises ConfigError for one that is unknown, or that opens by itself what it writes to.

    Such a muxer would write beside the place, see no time limit, and DASH's ends the process where it is closed before
    its first packet. HLS at a path is the exception: its files are ours.
    """
    if not output.format:
        return _format(output.url)
    words = f"the output {redact(output.url)} has the"
    try:
        known = ContainerFormat(output.format, "w")
    except ValueError:
        raise ConfigError(f"{words} unknown format {output.format!r}; it is no muxer of FFmpeg") from None
    if known.no_file and not (output.format == "hls" and outgoing(output.url) is None):
        raise ConfigError(
            f"{words} format {output.format!r}, whose files or connections cannot be watched; name one that is a "
            "single stream of bytes, such as mpegts or flv, or a path that ends in .m3u8 for HLS"
        )
    return output.format


def _format(url: str) -> str:
    rule = outgoing(url)
    if rule is not None:
        return rule.format
    path = file_path(url)
    if suffix_of(path).lower() == ".m3u8":
        return "hls"
    container = container_for(path)
    if container.format == "gif":
        raise ConfigError(f"the output {url!r} is a gif, which cannot be written live; use .ts, .mkv, .mp4 or .m3u8")
    return container.format


_BEGUN: set[str] = set()
"""The playlists of this process. They are carried on also where they ended in a gap: a player that has seen a number
or a segment's name takes it for the same when it comes again."""
END_LIST = "#EXT-X-ENDLIST"


def _ended(playlist: str) -> str:
    """Say in the playlist that nothing follows; returns words where that cannot be written."""
    begun = f"{playlist}.tmp"
    try:
        with open(playlist, encoding="utf-8") as file:
            lines = file.read()
        with open(begun, "w", encoding="utf-8") as file:
            file.write(f"{lines}{END_LIST}\n")
        os.replace(begun, playlist)
    except FileNotFoundError:
        return ""  # no segment was ever whole
    except OSError as error:
        return f"the end of the playlist {playlist!r} cannot be written: {error.strerror}"
    return ""


def _unfinished(playlist: str) -> bool:
    """Whether an HLS playlist is there that never ended: a run that was cut off, which this one carries on."""
    try:
        with open(playlist, encoding="utf-8", errors="replace") as file:
            return END_LIST not in file.read()
    except OSError:
        return False


def _free(path: str) -> str:
    """`path`, or with a number before its ending where a file has that name; devices and pipes stay as they are."""
    if os.path.exists(path) and not os.path.isfile(path):
        return path
    ending = PARTIAL if path.endswith(PARTIAL) else ""
    stem = path.removesuffix(ending)
    suffix = suffix_of(stem)
    base, number, found = stem.removesuffix(suffix), 1, path
    while os.path.lexists(found):
        number += 1
        found = f"{base}-{number}{suffix}{ending}"
    return found
