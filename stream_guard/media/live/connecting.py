"""How a live source is connected to: within time limits, to what it may lead to, and looked at for its streams."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Iterator, Mapping
from typing import Any

import av
from av.error import ExitError, FFmpegError

from ...errors import SourceError
from ..hwaccel import PLAIN, Acceleration
from . import bridge
from .contract import Dial, as_named
from .protocols import FILE, OPEN, READ, Incoming, file_path
from .redact import redact, redact_text

PROBE_BYTES = 2_000_000
"""The most that is read in the time that a rule gives for the first look; a longer look may read more accordingly."""

Opened = tuple[av.container.InputContainer, bridge.BridgeReader | None]


class Connection:
    """How a source is opened: limits, what it may lead to, and errors without the URL's secrets."""

    def __init__(
        self,
        *,
        url: str,
        rule: Incoming,
        options: Mapping[str, str],
        open_seconds: float,
        read_seconds: float,
        bridged: bool,
        acceleration: Acceleration = PLAIN,
        dial: Dial = as_named,
    ) -> None:
        self.acceleration = acceleration
        self.url, self.rule, self.bridged = url, rule, bridged
        self.shown = redact(url)
        self.open_seconds, self.read_seconds = open_seconds, read_seconds
        self._options, self._dial = options, dial

    def open(self) -> Opened:
        """The container, and the bridge that feeds it where there is one."""
        url, options = self._dial(self.url, self._options)
        begun = time.monotonic()
        container, pipe = self._look(url, options, self.rule.probe_seconds)
        left = self.open_seconds - (time.monotonic() - begun)
        if _unseen(container) and left > self.rule.probe_seconds:
            container.close()  # The sound came first, or we came in between two key frames: look longer.
            if pipe is not None:
                pipe.close()
            container, pipe = self._look(url, options, left - self.rule.probe_seconds / 2)
        return container, pipe

    @contextlib.contextmanager
    def translated(self, what: str) -> Iterator[None]:
        """FFmpeg's errors name the URL, in their text and in their traceback: neither goes on."""
        reason = ""
        try:
            yield
        except ExitError:
            limit = self.open_seconds if what == "cannot open" else self.read_seconds
            reason = f"no data for {limit:g} s"
        except (FFmpegError, OSError, ValueError) as error:
            reason = redact_text(str(getattr(error, "strerror", None) or error), self.url)
            reason = self._meant(error, what == "cannot open", reason)
        if reason:
            raise SourceError(f"{what} the live source {self.shown}: {reason}") from None

    def _meant(self, error: Exception, opening: bool, reason: str) -> str:
        """FFmpeg's `reason`, behind what it means of a server that has people publish."""
        absent, code = self.rule.refuses, getattr(error, "errno", None)
        if absent and code == errno.EIO:  # FFmpeg's RTMP says so of a time-out as well as of an end
            silent = f"the server sent nothing for {self.read_seconds:g} s, or hung up"
            return f"{silent}: {absent} ({reason})" if opening else f"{silent} ({reason})"
        return f"{absent} ({reason})" if absent and isinstance(error, PermissionError) else reason

    def _look(self, url: str, own: Mapping[str, str], seconds: float) -> Opened:
        """Connect, and read for about so many seconds of the stream to find what is in it."""
        if self.bridged:
            return self._open_bridged(url, own, seconds)
        with self.translated("cannot open"):
            return self._open(url if self.rule is not FILE else f"file:{file_path(url)}", own, seconds), None

    def _open_bridged(self, url: str, own: Mapping[str, str], seconds: float) -> Opened:
        pipe = bridge.reader(url, own, open_seconds=self.open_seconds, read_seconds=self.read_seconds)
        try:
            with self.translated("cannot open"):
                return self._open(pipe, {}, seconds, "mpegts"), pipe
        except SourceError as error:
            pipe.close()
            if pipe.failure:
                raise SourceError(f"cannot open the live source {self.shown}: {pipe.failure}") from None
            raise error

    def _open(self, file: Any, own: Mapping[str, str], seconds: float, format: str = "") -> av.container.InputContainer:
        micro = {OPEN: str(round(self.open_seconds * 1e6)), READ: str(round(self.read_seconds * 1e6))}
        options = {name: micro.get(value, value) for name, value in self.rule.options}
        size = round(PROBE_BYTES * seconds / self.rule.probe_seconds)
        options |= {"analyzeduration": str(round(seconds * 1e6)), "probesize": str(size)}
        options |= own
        # Last, so that no option of a stream can undo it: a playlist or redirect must not lead to other protocols.
        options |= {"protocol_whitelist": self.rule.protocols, "format_whitelist": self.rule.formats}
        container: av.container.InputContainer = av.open(
            file,
            "r",
            format=format or None,
            timeout=(self.open_seconds, self.read_seconds),
            metadata_errors="surrogateescape",
            container_options=options,
            hwaccel=self.acceleration.setting(),
        )
        return container


def _unseen(container: av.container.InputContainer) -> bool:
    """Whether nothing of a picture was found yet, or none with its size: a transport stream says it with key frames."""
    contexts = [stream.codec_context for stream in container.streams.video]
    return all(context is not None and not context.width for context in contexts)
