"""A YAML document as plain data that remembers where each value stands, so that an error can name the line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigError

KeyPath = tuple[str | int, ...]
MAX_BYTES = 1 << 20
DEEPEST = 64
"""Levels of lists and mappings: whatever reads the data afterwards goes down them by recursion."""
_UNREADABLE = (ValueError, LookupError, AttributeError, ArithmeticError)
"""What PyYAML lets through of values that do not fit their tag: `!!bool maybe`, `!!int ''`, `!!timestamp x`."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a value comes from; prints as `protect.yaml:4:11`, or as the option of the command line it came by."""

    origin: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return self.origin if self.line is None else f"{self.origin}:{self.line}:{self.column}"


@dataclass(slots=True)
class Document:
    """Plain data, and the place of every key and item by its path from the root."""

    data: Any
    origin: str
    marks: dict[KeyPath, Mark] = field(default_factory=dict)

    def mark(self, path: KeyPath) -> Mark:
        """The place of the value at `path`, or of the nearest value around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.marks:
                return self.marks[path[:length]]
        return Mark(self.origin)


def read_document(path: Path, what: str = "pipeline") -> Document:
    """Read a YAML file; `what` it is stands in the messages.

    Raises ConfigError when it is missing, not text, or not YAML.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as exc:  # a ValueError for a path that no file can have, with a NUL in it
        raise ConfigError(f"cannot read the {what} {str(path)!r}: {getattr(exc, 'strerror', None) or exc}") from exc
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES} bytes: this is not a {what} file")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: not a text file in UTF-8: byte {exc.start} is {raw[exc.start]:#04x}") from exc
    return parse_document(text, str(path))


def parse_document(text: str, origin: str) -> Document:
    """Parse one YAML document; `origin` is the file name in the messages."""
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        document = Document(None, origin)
        if root is not None:
            _walk(root, (), document, seen=set())
            document.data = loader.construct_document(root)
        return document
    except yaml.MarkedYAMLError as exc:
        raise ConfigError(f"{_mark(origin, exc.problem_mark)}: not valid YAML: {_yaml_words(exc)}") from exc
    except yaml.YAMLError as exc:
        raise ConfigError(f"{origin}: not valid YAML: {' '.join(str(exc).split())}") from exc
    except _UNREADABLE as exc:  # an escape in a text that names no character, such as "\UFFFFFFFF"
        raise ConfigError(f"{origin}: not valid YAML: {exc}") from exc
    except RecursionError:
        raise ConfigError(f"{origin}: lists and mappings lie more than {DEEPEST} deep in one another") from None
    finally:
        if loader is not None:
            loader.dispose()


def parse_value(text: str) -> Any:
    """One value as a file could hold it: 8080 is a number, true a truth value.

    Raises ConfigError, which does not repeat the value: it may be a secret of the environment.
    """
    try:
        return parse_document(text, "value").data
    except ConfigError as exc:
        raise ConfigError("not a YAML value that a file could hold") from exc


class _Loader(yaml.SafeLoader):
    """Says where the value stands that does not fit its tag, or that looks like a date and is none.

    Nor does it take numbers beyond 64 bits: Python itself does not write those of some thousand digits out.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int) and value.bit_length() > 63:
                words = "a number of more than 64 bits has no use here"
                raise yaml.constructor.ConstructorError(None, None, words, node.start_mark)
            return value
        except _UNREADABLE as exc:
            kind = node.tag.rpartition(":")[2]
            words = f"this cannot be read as a value of the kind {kind!r}; put quotes around it if it is meant as text"
            raise yaml.constructor.ConstructorError(None, None, words, node.start_mark) from exc


def _walk(node: yaml.Node, path: KeyPath, document: Document, seen: set[int]) -> None:
    if len(path) > DEEPEST:
        mark = _mark(document.origin, node.start_mark)
        raise ConfigError(f"{mark}: lists and mappings lie more than {DEEPEST} deep in one another")
    if id(node) in seen:  # an alias may also point at its own parent, which would never end
        raise ConfigError(f"{_mark(document.origin, node.start_mark)}: anchors and aliases (&, *) have no use here")
    seen.add(id(node))
    document.marks.setdefault(path, _mark(document.origin, node.start_mark))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), document, seen)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _walk_pair(key, value, path, document, seen)


def _walk_pair(key: yaml.Node, value: yaml.Node, path: KeyPath, document: Document, seen: set[int]) -> None:
    mark = _mark(document.origin, key.start_mark)
    if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
        raise ConfigError(f"{mark}: a key is a plain word here; put quotes around it if it is meant as one")
    here = (*path, str(key.value))
    if here in document.marks:
        raise ConfigError(f"{mark}: {key.value!r} is given twice; the first is at {document.marks[here]}")
    document.marks[here] = mark
    _walk(value, here, document, seen)


def _mark(origin: str, mark: yaml.Mark | None) -> Mark:
    return Mark(origin) if mark is None else Mark(origin, mark.line + 1, mark.column + 1)


def _yaml_words(exc: yaml.MarkedYAMLError) -> str:
    return ", ".join(part for part in (exc.context, exc.problem) if part)
