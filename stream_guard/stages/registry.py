"""Which stages there are: built-ins and third parties arrive the same way, by entry point, and can be listed.

Third parties add a stage with three lines in their own pyproject.toml:

    [project.entry-points."stream_guard.stages"]
    blur = "their_package.blur:BlurStage"
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import BaseModel

from ..errors import UnknownNameError, UsageError
from .base import Stage, StageOptions

GROUP = "stream_guard.stages"

BUILT_IN = (
    ("faces", "stream_guard.stages.faces:FacesStage"),
    ("disrupt", "stream_guard.stages.disrupt:DisruptStage"),
    ("detect", "stream_guard.stages.detect:DetectStage"),
    ("magdr", "stream_guard.stages.magdr:MagdrStage"),
)
"""The entry points of pyproject.toml once more, for a checkout that was never installed; a test keeps the two equal."""


@dataclass(frozen=True, slots=True)
class StageEntry:
    """One registered stage, not yet imported: `target` is `module:attribute`, `origin` names its distribution."""

    name: str
    target: str
    origin: str

    def load(self) -> type[Stage]:
        """Import the stage's class. Raises UsageError when it is broken or not a stage of that name."""
        module, _, attribute = self.target.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except Exception as exc:  # a plugin may raise anything while it is imported
            raise self._broken(f"{type(exc).__name__}: {exc}") from exc
        if not (isinstance(found, type) and issubclass(found, Stage)):
            raise self._broken("it is not a subclass of stream_guard.stages.base.Stage")
        if getattr(found, "name", None) != self.name:
            raise self._broken(f"its class calls itself {getattr(found, 'name', None)!r}")
        if not isinstance(getattr(found, "description", None), str):
            raise self._broken("its class has no description")
        if missing := ", ".join(sorted(found.__abstractmethods__)):
            raise self._broken(f"its class lacks {missing}")
        if not (isinstance(found.Options, type) and issubclass(found.Options, StageOptions)):
            raise self._broken("its Options are no subclass of stream_guard.stages.base.StageOptions")
        try:
            describe_options(found.Options)
        except Exception as exc:  # pydantic has many ways to say that a field cannot be read
            raise self._broken(f"its Options cannot be described: {str(exc).splitlines()[0]}") from exc
        return found

    def _broken(self, why: str) -> UsageError:
        return UsageError(
            f"stage {self.name!r} of {self.origin} ({self.target}) cannot be loaded: {why}; "
            "update or uninstall what provides it"
        )


@dataclass(frozen=True, slots=True)
class Registry:
    """The stages by name, and what is wrong with the ones that could not be taken in."""

    entries: dict[str, StageEntry]
    problems: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return list(self.entries)

    def load(self, name: str) -> type[Stage]:
        """The class of the stage `name`. Raises UnknownNameError, or UsageError when the plugin is broken."""
        if name not in self.entries:
            raise UnknownNameError("stage", name, self.names)
        return self.entries[name].load()


def discover(points: Iterable[EntryPoint] | None = None) -> Registry:
    """Read the entry points (all installed ones by default) and add the built-ins that the metadata lacks.

    A built-in's name is not for others to take: a protected stream must not depend on which plugin came first.
    """
    entries: dict[str, StageEntry] = {}
    problems: list[str] = []
    found = [_entry(p) for p in (entry_points(group=GROUP) if points is None else points)]
    for entry in [*(StageEntry(n, t, "the built-ins") for n, t in BUILT_IN), *sorted(found, key=lambda e: e.origin)]:
        first = entries.setdefault(entry.name, entry)
        if first.target != entry.target:
            problems.append(f"stage {entry.name!r} of {entry.origin} is ignored: {first.origin} took that name first")
    return Registry(entries, tuple(problems))


def _entry(point: EntryPoint) -> StageEntry:
    dist = getattr(point, "dist", None)
    origin = f"{dist.name} {dist.version}" if dist is not None else "an unnamed distribution"
    return StageEntry(point.name, point.value.replace(" ", ""), origin)


def describe(stage: type[Stage]) -> dict[str, Any]:
    """Name, description and options of a stage, as plain data: what `stream-guard stages --json` prints."""
    return {
        "name": stage.name,
        "description": stage.description,
        "protects": stage.protects,
        "options": describe_options(stage.Options),
    }


def describe_options(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """Each field of a settings model with its type in words, default, and description."""
    schema = model.model_json_schema()
    return {
        name: {
            "type": _type_name(schema["properties"][name], schema),
            "default": None if field.is_required() else _plain(field.get_default(call_default_factory=True)),
            "required": field.is_required(),
            "description": field.description or "",
        }
        for name, field in model.model_fields.items()
    }


def _plain(value: Any) -> Any:
    """A default as JSON holds it; an enum as the word that a pipeline file has for it."""
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _type_name(schema: dict[str, Any], root: dict[str, Any]) -> str:
    """A person's word for a JSON schema: `integer, 1 to 64`, `block | pass | black`, `number or null`."""
    if "$ref" in schema:
        return _type_name(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return " or ".join(_type_name(s, root) for s in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(v) for v in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    return str(schema.get("type", "any")) + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    words = [
        f"{word} {schema[key]}"
        for key, word in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
            ("exclusiveMaximum", "below"),
        )
        if key in schema
    ]
    return ", " + " ".join(words) if words else ""
