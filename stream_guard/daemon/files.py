"""Which files may be read and written: only those below the set roots, links followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Literal

from ..errors import ConfigError

Purpose = Literal["read", "write", "open"]


def check_file(path: str, roots: Sequence[str], purpose: Purpose) -> str:
    """The real path of `path`, which lies below one of `roots` (absolute folders) when all links are followed.

    What is read is an existing regular file, and what is opened that or a folder; what is written is none yet or a
    regular file, in an existing folder. Raises ConfigError. Open the answer, not `path`: a link that is laid afterwards
    is then not followed at its end.
    """
    if not roots:
        raise ConfigError("files are not allowed: urls.file_roots is empty")
    if any(ord(c) < 32 or ord(c) == 127 for c in path) or not path.startswith("/") or ".." in path.split("/"):
        raise ConfigError("a file is named by an absolute path without '..' and without control characters")
    try:
        real = os.path.realpath(path)
        if not any(_below(real, os.path.realpath(root)) for root in roots):
            raise ConfigError("the file is not below one of urls.file_roots (links are followed)")
        _check_kind(real, purpose)
    except (OSError, ValueError) as exc:
        raise ConfigError(f"the file cannot be used: {getattr(exc, 'strerror', None) or exc}") from None
    return real


def _below(path: str, root: str) -> bool:
    return os.path.commonpath((path, root)) == root and path != root


def _check_kind(real: str, purpose: Purpose) -> None:
    if purpose == "write" and not os.path.lexists(real):
        if not os.path.isdir(os.path.dirname(real)):
            raise ConfigError("the output's folder does not exist; create it first")
        return
    mode = os.stat(real).st_mode
    if purpose == "open" and stat.S_ISDIR(mode):
        return
    if not stat.S_ISREG(mode):
        raise ConfigError("not a regular file: folders, devices, pipes and sockets are refused")
