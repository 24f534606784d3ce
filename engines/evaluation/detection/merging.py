"""One document out of several calls: each adds its networks' rows or replaces them, and leaves the others alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stream_guard.errors import UsageError

from .recipes import RECIPES

Document = dict[str, Any]

TABLE = "fooling_detectors"

ROWS = ("networks", "table1", "table2", "trade", "suite", "prior", "table3", "table4", "agreement")
"""Lists of rows, each of a network or of a defence's networks."""
SAME = ("table", "seed", "people", "fakes_by", "size")
"""Facts of the pictures; of others nothing is kept (`run` says so)."""


def held(path: Path) -> Document:
    """What the file has of earlier calls; nothing where there is none. Raises UsageError for one of something else."""
    try:
        found: Document = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"table": TABLE}
        if found["table"] != TABLE:
            raise ValueError(f"its table is {found['table']!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--out {path} is no file of these tables ({error}): name another, or delete it") from error
    return found


def of_the_same(before: Document, made: Document) -> bool:
    """Whether what the file held is of this call's pictures."""
    return all(before.get(key) == made[key] for key in SAME)


def merged(before: Document, made: Document) -> Document:
    """What a call has made with what the file held, if that was of the same pictures."""
    if not of_the_same(before, made):
        return made
    document = before | made
    document["commands"] = [c for c in before.get("commands", []) if c not in made["commands"]] + made["commands"]
    if "table2" not in made and "effort" in before:
        document["effort"] = before["effort"]  # this call attacked nothing
    for name in ROWS:
        if name in before or name in made:
            document[name] = _rows(before.get(name, []), made.get(name, []), "network")
    if "library" in before:
        document["library"] = _rows(before["library"], made.get("library", []), "attack")
    if before.get("figure6") and not _same_figure(before, made):
        document["figure6"] = before["figure6"]
    return document


def _rows(before: list[Document], made: list[Document], key: str) -> list[Document]:
    """Rows of one network or attack stay together; networks stand as in RECIPES, second opinions after them."""
    new = {row.get(key) for row in made}
    rows = [row for row in before if row.get(key) not in new] + made
    first = {row.get(key): place for place, row in reversed(list(enumerate(before + made)))}
    order = {name: place for place, name in enumerate(RECIPES)}
    return sorted(rows, key=lambda row: (order.get(str(row.get(key)), len(order)), first[row.get(key)]))


def _same_figure(before: Document, made: Document) -> bool:
    """Whether this call drew figure 6 again: the file has that of the first defence it ever measured."""
    if not made.get("figure6"):
        return False
    drawn, first = before["figure6"][0], before.get("prior") or [{}]
    return bool(drawn.get("network", first[0].get("network")) == made["figure6"][0]["network"])
