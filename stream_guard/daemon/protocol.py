"""How supervisor and worker talk: one JSON object a line, orders on the worker's stdin, reports on its stdout.

Orders: the first line is the order itself (`kind`, `spec`, `parent`, `nice`, `cpu_seconds`), later lines are
{"type": "stop"}, before it {"type": "followed"} where another worker is to carry the outputs on, and
{"type": "snapshot", "id": n, "kind": "original"}. Reports: {"type": "alive"} every second, "status", "event",
"metrics", "snapshot", "error", and whatever a job says. Specs hold stream keys, so they never stand on a command line,
where every user of the machine could read them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

from ..errors import StreamGuardError
from ..metrics import PREFIX, Family

Message = dict[str, Any]

LONGEST_LINE = 32 * 1024**2
"""Bytes; the longest is a snapshot in base64."""
ALIVE_SECONDS = 1.0
"""How often a worker says that it is there."""


class ProtocolError(StreamGuardError):
    """What came is not a message: the worker cannot be trusted any longer."""


def encode(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":"), default=str).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Raises ProtocolError for anything but a JSON object with a `type`."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise ProtocolError(f"a worker sent a line of {len(line)} bytes that is not JSON") from exc
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ProtocolError("a worker sent JSON that is not an object with a type")
    return message


class Lines:
    """Bytes as they come, whole messages as they are complete."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._rest = bytearray()
        self._longest = longest

    def feed(self, data: bytes) -> list[Message]:
        """Raises ProtocolError, also for a line without an end."""
        self._rest += data
        *whole, rest = self._rest.split(b"\n") if b"\n" in data else (self._rest,)
        self._rest = rest
        if len(rest) > self._longest:
            raise ProtocolError(f"a worker sent a line of more than {self._longest} bytes")
        return [decode(bytes(line)) for line in whole if line]


OF_PROTECTION = frozenset(f"{PREFIX}_{name}" for name in ("faces", "unprotected_frames", "blocked_frames"))
"""What became of faces, and of pictures for it: screening lets none out, so it has nothing to say of them."""


def pack(families: Iterable[Family], without: Collection[str] = ()) -> list[list[Any]]:
    """Metric families as JSON, but for those `without` which."""
    return [[f.name, f.kind, f.help, f.samples] for f in families if f.samples and f.name not in without]


def unpack(data: Any) -> list[Family]:
    """The inverse of `pack`. Raises ProtocolError for anything else."""
    try:
        return [
            Family(
                str(name),
                str(kind),
                str(words),
                tuple(
                    (str(sample), {str(k): str(v) for k, v in labels.items()}, float(value))
                    for sample, labels, value in samples
                ),
            )
            for name, kind, words, samples in data
        ]
    except (TypeError, ValueError, AttributeError) as exc:
        raise ProtocolError("a worker sent metrics in another form") from exc
