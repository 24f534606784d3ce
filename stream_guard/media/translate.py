"""FFmpeg's and the system's errors in plain words, in one place."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from av.error import FFmpegError, InvalidDataError

from ..errors import SinkError, SourceError, StreamGuardError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""Two letters or more before the colon: one is a drive. Paths lose one of an address's two slashes."""
CONTAINERS_READ = "a video file, such as .mp4, .mkv, .webm, .mov, .ts, .flv or .gif"


def check_readable(path: str) -> None:
    """Raise SourceError for what cannot be a video: missing, a directory, a device, empty, or not ours to read."""
    try:
        status = os.stat(path)
    except OSError as error:
        if _URL.match(path):
            raise SourceError(
                f"the input {path!r} is an address; give {CONTAINERS_READ}, downloaded. Live sources are for "
                "`stream-guard serve`"
            ) from error
        raise SourceError(_os_words("cannot open the input", path, error)) from error
    if stat.S_ISDIR(status.st_mode):
        raise SourceError(f"the input {path!r} is a directory; give {CONTAINERS_READ}")
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"the input {path!r} is not a regular file; give {CONTAINERS_READ}")
    if status.st_size == 0:
        raise SourceError(f"the input {path!r} is empty (0 bytes); give {CONTAINERS_READ}")
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise SourceError(_os_words("cannot open the input", path, error)) from error


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Translate what goes wrong while a source is opened."""
    try:
        yield
    except StreamGuardError:
        raise
    except InvalidDataError as error:
        raise SourceError(
            f"the input {path!r} is not a video that can be read ({_reason(error)}): it is damaged, was cut off before "
            f"its index was written, or is another kind of file; give {CONTAINERS_READ}"
        ) from error
    except (FFmpegError, OSError, ValueError) as error:
        raise SourceError(_os_words("cannot read the input", path, error)) from error


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Translate what goes wrong while a sink is opened, written or closed."""
    try:
        yield
    except StreamGuardError:
        raise
    except (FFmpegError, OSError, ValueError) as error:
        raise SinkError(_os_words("cannot write the output", path, error)) from error


def is_system(error: BaseException) -> bool:
    """Whether the system refused, not FFmpeg: a full disk, no permission and the like."""
    return getattr(error, "errno", None) in _ADVICE


_ADVICE = {
    errno.ENOENT: "no such file or directory; check the path",
    errno.EACCES: "permission denied; change the permissions or choose another place",
    errno.EPERM: "operation not permitted; choose another place",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.ENOSPC: "no space left on the device; free some or choose another place",
    errno.EDQUOT: "the disk quota is used up; free some or choose another place",
    errno.EFBIG: "the file is larger than the system allows; raise the limit or choose another place",
    errno.EIO: "the device reports an input/output error",
    errno.ENAMETOOLONG: "the file name is too long; choose a shorter one",
    errno.ENOTDIR: "a part of the path is not a directory; check the path",
    errno.EISDIR: "it is a directory; name a file",
}


def _os_words(what: str, path: str, error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if path == "-" and number == errno.ENOENT:
        return f"{what} '-': standard input is not taken, for files are read in any order; name a file"
    return f"{what} {path!r}: {_ADVICE.get(number or 0) or _reason(error)}"


def _reason(error: BaseException) -> str:
    """FFmpeg's last log line says more than its error code, where there is one."""
    log = getattr(error, "log", None)
    if isinstance(log, tuple) and len(log) == 3 and log[2]:
        return str(log[2]).strip()
    return str(getattr(error, "strerror", None) or error)
