"""What PyAV does not offer of the FFmpeg that it brings: the list of protocols, and writing to one with a time limit.

PyAV opens network outputs without options and while it holds Python's lock: one host that does not answer would stop
every thread of the process. So the muxer writes into a `Wire`, which is FFmpeg's own I/O, called without the lock.
Functions are found through PyAV's extension module: the libraries that it was linked with are searched, no others.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import threading
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import av.container.core as _core

from ...errors import MediaError, SinkError

_WRITE = 2  # AVIO_FLAG_WRITE
_EXIT = -0x54495845  # AVERROR_EXIT: the callback ended the call.

_Interrupt = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


class _InterruptCallback(ctypes.Structure):
    """AVIOInterruptCB."""

    _fields_ = (("callback", _Interrupt), ("opaque", ctypes.c_void_p))


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_core.__file__)
        library.avio_enum_protocols.restype = ctypes.c_char_p
        library.avio_enum_protocols.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int]
        library.avio_open2.argtypes = [
            ctypes.POINTER(ctypes.c_void_p),
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.POINTER(_InterruptCallback),
            ctypes.POINTER(ctypes.c_void_p),
        ]
        library.avio_write.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
        library.avio_write.restype = None
        library.avio_flush.argtypes = [ctypes.c_void_p]
        library.avio_flush.restype = None
        library.avio_closep.argtypes = [ctypes.POINTER(ctypes.c_void_p)]
        library.av_dict_set.argtypes = [
            ctypes.POINTER(ctypes.c_void_p),
            ctypes.c_char_p,
            ctypes.c_char_p,
            ctypes.c_int,
        ]
        library.av_dict_free.argtypes = [ctypes.POINTER(ctypes.c_void_p)]
        library.av_dict_free.restype = None
        library.av_strerror.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
    except (OSError, AttributeError) as error:
        raise MediaError(
            f"this build of PyAV does not show FFmpeg's I/O functions ({error}), so live outputs on the network cannot "
            "be written; install PyAV from its wheel"
        ) from error
    return library


@lru_cache(maxsize=2)
def protocols(*, output: bool) -> frozenset[str]:
    """The names of the protocols that the bundled FFmpeg reads, or writes."""
    state = ctypes.c_void_p()
    found: set[str] = set()
    while True:
        name = _library().avio_enum_protocols(ctypes.byref(state), int(output))
        if name is None:
            return frozenset(found)
        found.add(name.decode())


class Wire:
    """A network output with time limits, as a file to write to. Raises SinkError in words that name no URL.

    `open`, which comes first, and each `write` end after their limit, and soon after `abort`, which any thread may
    call.
    """

    def __init__(self, url: str, options: Mapping[str, str], *, open_seconds: float, write_seconds: float) -> None:
        self.closed = True
        self._url, self._options = url, options
        self._open_seconds, self._write_seconds = open_seconds, write_seconds
        self._gone = threading.Event()
        self._deadline = 0.0
        self._context = ctypes.c_void_p()
        self._callback = _InterruptCallback(_Interrupt(self._interrupted), None)

    def open(self) -> None:
        """Connect."""
        self._deadline = time.monotonic() + self._open_seconds
        self._connect()
        self.closed = False
        head = _AVIOContext.from_address(self._context.value or 0)
        if (head.write_flag, head.error, head.eof_reached) != (1, 0, 0):
            self.close()
            raise MediaError(
                "this FFmpeg lays its I/O context out in another way than FFmpeg 5 to 8; install PyAV 17 or 18"
            )

    def write(self, data: bytes) -> int:
        if self.closed:
            raise SinkError("the output is closed")
        self._deadline = time.monotonic() + self._write_seconds
        _library().avio_write(self._context, data, len(data))
        _library().avio_flush(self._context)
        code = self._error()
        if code < 0:
            raise SinkError(self._words(code))
        return len(data)

    def abort(self) -> None:
        """From any thread: whatever waits now ends soon, and close sends nothing more."""
        self._gone.set()

    def close(self) -> None:
        """Say goodbye as the protocol does it, within the time of one write."""
        if self.closed:
            return
        self.closed = True
        self._deadline = time.monotonic() + self._write_seconds
        _library().avio_closep(ctypes.byref(self._context))

    def _connect(self) -> None:
        library, wanted = _library(), ctypes.c_void_p()
        for name, value in self._options.items():
            library.av_dict_set(ctypes.byref(wanted), name.encode(), value.encode(), 0)
        url, context = self._url.encode(), ctypes.byref(self._context)
        try:
            code: int = library.avio_open2(context, url, _WRITE, ctypes.byref(self._callback), ctypes.byref(wanted))
        finally:
            library.av_dict_free(ctypes.byref(wanted))
        if code < 0:
            raise SinkError(self._words(code))

    def _interrupted(self, _: Any) -> int:
        return int(self._gone.is_set() or time.monotonic() > self._deadline)

    def _error(self) -> int:
        """avio_write says nothing of failure; the context does."""
        address = self._context.value
        return -errno.EPIPE if address is None else int(_AVIOContext.from_address(address).error)

    def _words(self, code: int) -> str:
        if self._gone.is_set():
            return "given up"
        if code == _EXIT:
            return "no answer in time"
        buffer = ctypes.create_string_buffer(256)
        with contextlib.suppress(OSError):
            _library().av_strerror(code, buffer, len(buffer))
        return buffer.value.decode(errors="replace") or f"error {code}"


class _AVIOContext(ctypes.Structure):
    """The head of AVIOContext: public and unchanged in FFmpeg 5 to 8 (libavformat 59 to 62); checked at each open."""

    _fields_ = (
        ("av_class", ctypes.c_void_p),
        ("buffer", ctypes.c_void_p),
        ("buffer_size", ctypes.c_int),
        ("buf_ptr", ctypes.c_void_p),
        ("buf_end", ctypes.c_void_p),
        ("opaque", ctypes.c_void_p),
        ("read_packet", ctypes.c_void_p),
        ("write_packet", ctypes.c_void_p),
        ("seek", ctypes.c_void_p),
        ("pos", ctypes.c_int64),
        ("eof_reached", ctypes.c_int),
        ("error", ctypes.c_int),
        ("write_flag", ctypes.c_int),
    )
