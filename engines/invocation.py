"""The command that made a file, as it is written there: without this machine's folders."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def invocation(places: Mapping[Path, str], many: Sequence[Path] = (), word: str = "CLIPS") -> str:
    """This call's command line with a word for each of `places`, and one for all of `many` together.

    Of other whole paths the last name is left.
    """
    said = {str(path): name for path, name in places.items()}
    lists = {str(path) for path in many}
    words: list[str] = []
    for given in sys.argv[1:]:
        option, equals, value = given.partition("=") if given.startswith("--") else ("", "", given)
        if value in lists:
            words += [word] if words[-1:] != [word] else []
        else:
            words.append(option + equals + said.get(value, Path(value).name if value.startswith("/") else value))
    return "python -m engines " + shlex.join(words)
