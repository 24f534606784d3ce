"""Files that are whole or not there at all: written beside their place, and put there when nothing is missing.

And what is said of one that is neither.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from stream_guard.errors import EngineError


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that becomes `path` at the end; the folder is made where it is missing.

    A kill, an error or a full disk in the middle leaves what was there before. Raises EngineError where it can't be
    written.
    """
    place = path.resolve()  # what a link leads to is written, and the link stays
    direct = place.exists() and not place.is_file()  # nothing can take the place of a terminal or a pipe
    scratch = place if direct else place.with_name(f"{place.name}.tmp")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            yield file
        if not direct:
            os.replace(scratch, place)
    except (OSError, RuntimeError) as error:  # torch says of a full disk that a position is unexpected
        raise EngineError(
            f"{path} could not be written ({error}): make room there or name another place; what was there is kept"
        ) from error
    finally:
        if not direct:
            scratch.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Raises EngineError, as `whole`."""
    with whole(path) as file:
        file.write(text.encode())


def write_json(path: Path, document: Any) -> None:
    """Raises EngineError, as `whole`."""
    write_text(path, json.dumps(document, indent=1) + "\n")


def unreadable(error: Exception) -> str:
    """What to say of a file that torch could not read, on one line. Its own words for a pickle fill a page, and advise
    to run whatever is in it."""
    if isinstance(error, pickle.UnpicklingError):
        return "it is no file of plain tensors"
    return str(error).partition("\n")[0]
