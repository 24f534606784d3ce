"""A temporary folder that a signal can't leave behind."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_folder(prefix: str = "stream-guard-") -> Iterator[Path]:
    """A new folder that only this user can read, gone with all that is in it when the block ends.

    `tempfile.TemporaryDirectory` makes the folder before anything would remove it: a signal in between, which some of
    our commands take as an exception, leaves it there. Here the name is known first. Raises OSError where it can't be
    made.
    """
    folder = Path(tempfile.gettempdir()) / f"{prefix}{secrets.token_hex(8)}"
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
