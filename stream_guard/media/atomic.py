"""A file that appears under its name only when it is whole."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat

from ..errors import OutputRefusedError, SinkError
from .containers import suffix_of
from .translate import writing

NAME_BYTES, PATH_BYTES = 255, 4096
"""The longest name, and path with its end, on nearly every file system."""


class AtomicFile:
    """Checks the place at once, gives a hidden name beside it to write to, and renames it at the end.

    Raises OutputRefusedError where the output may not be written, before anything else has been done.
    """

    def __init__(self, path: str, *, overwrite: bool, source: str | None = None, token: str = "") -> None:
        """`token` names the hidden file; what a killed run with the same token left is removed. Empty: by chance."""
        self.path = path
        # A link is followed, so that its target is replaced and not the link.
        self._final = os.path.realpath(path)
        self._overwrite = overwrite
        self.temporary = _hidden(self._final, token or secrets.token_hex(8))
        self._check(source)
        if token:
            self.discard()
        self._create()

    def commit(self) -> int:
        """Make the file durable, give it its name, and return its size in bytes."""
        with writing(self.path):
            if not self._overwrite and os.path.lexists(self._final):
                raise OutputRefusedError(_exists(self.path))
            if os.path.exists(self._final):
                shutil.copymode(self._final, self.temporary)
            size = os.path.getsize(self.temporary)
            _sync(self.temporary)
            os.replace(self.temporary, self._final)
            _sync(os.path.dirname(self._final))
            return size

    def discard(self) -> None:
        """Remove what was written so far."""
        with contextlib.suppress(OSError):
            os.unlink(self.temporary)

    def _check(self, source: str | None) -> None:
        folder = os.path.dirname(self._final)
        self._check_length(folder)
        if not os.path.isdir(folder):
            raise OutputRefusedError(f"the folder {folder!r} of the output does not exist; create it first")
        if os.path.isdir(self._final):
            raise OutputRefusedError(f"the output {self.path!r} is a directory; name a file in it")
        if not os.path.lexists(self._final):
            return
        if source is not None and os.path.exists(source) and os.path.samefile(source, self._final):
            raise OutputRefusedError(f"the output {self.path!r} is the input itself; name another file")
        if not stat.S_ISREG(os.stat(self._final).st_mode):
            raise OutputRefusedError(f"the output {self.path!r} is not a regular file; name another one")
        if not self._overwrite:
            raise OutputRefusedError(_exists(self.path))

    def _check_length(self, folder: str) -> None:
        """Of the hidden name too: where the suffix is long, it is the longer one."""
        longest_path = _most(folder, "PC_PATH_MAX", PATH_BYTES) - 1  # with the zero byte that ends it
        longest_name = _most(folder, "PC_NAME_MAX", NAME_BYTES)
        for what, path in (("output", self._final), ("hidden file that becomes the output", self.temporary)):
            _check_bytes(f"path of the {what}", path, longest_path)
            _check_bytes(f"name of the {what}", os.path.basename(path), longest_name)

    def _create(self) -> None:
        """Create the hidden file now: a place without permission is found before a frame is read."""
        try:
            with writing(self.path):
                os.close(os.open(self.temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except SinkError as error:
            raise OutputRefusedError(str(error)) from error


def remove_leftover(path: str, token: str) -> None:
    """Remove the hidden file that a killed run with this token left beside the output `path`, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_hidden(os.path.realpath(path), token))


def _hidden(final: str, token: str) -> str:
    return os.path.join(os.path.dirname(final), f".stream-guard-{token}{suffix_of(final)}")


def _check_bytes(what: str, name: str, most: int) -> None:
    came = len(os.fsencode(name))
    if came > most:
        raise OutputRefusedError(f"the {what} is {came} bytes long; {most} are allowed there: choose a shorter one")


def _most(folder: str, limit: str, usual: int) -> int:
    """The most bytes of a name or path in the folder; `usual` where the system does not say, or knows no limit."""
    try:
        most = os.pathconf(folder, limit)
    except (AttributeError, OSError, ValueError):
        return usual
    return most if most > 0 else usual


def _exists(path: str) -> str:
    return f"the output {path!r} exists; give --overwrite (a job: overwrite: true) to replace it, or name another file"


def _sync(path: str) -> None:
    """Flush a file or a directory to the disk; a file system that cannot do it for directories is let be."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError:
        if not os.path.isdir(path):
            raise
    finally:
        os.close(number)
