"""One document out of several calls: each adds its networks' rows or replaces them, and leaves the others alone."""

from __future__ import annotations

from typing import Any

from .recipes import RECIPES

Document = dict[str, Any]

ROWS = ("networks", "table1", "table2", "trade", "suite", "prior", "table3", "table4", "agreement")
"""Lists of rows, each of a network or of a defence's networks."""
SAME = ("table", "seed", "people", "fakes_by", "size")
"""Facts of the pictures; of others nothing is kept."""


def merged(before: Any, made: Document) -> Document:
    """What a call has made with what the file held, if that was of the same pictures."""
    if not isinstance(before, dict) or any(before.get(key) != made[key] for key in SAME):
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
