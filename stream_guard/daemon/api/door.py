"""Where connections of TLS shake hands: in a bounded number, and in time, before an HTTP protocol is made for them.

asyncio alone keeps as many as come, for a minute each: silent ones would take every file descriptor, also those that
workers and the queue need, and no limit of the server behind would see them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, cast

HANDSHAKE_SECONDS = 10.0


class Doors:
    """All doors of one server; called as a protocol's class is, it makes one. At most `most` shake hands at a time."""

    def __init__(self, behind: Callable[..., asyncio.Protocol], context: ssl.SSLContext, most: int) -> None:
        self.behind, self.context, self.most = behind, context, most
        self.waiting: dict[asyncio.Transport, None] = {}

    def __call__(self, **named: Any) -> _Door:
        return _Door(self, partial(self.behind, **named))

    def close(self) -> None:
        """Let go whoever still shakes hands."""
        for transport in list(self.waiting):
            transport.abort()


class _Door(asyncio.Protocol):
    """One connection until its hands are shaken. What comes right behind them is kept for the protocol behind."""

    def __init__(self, doors: Doors, make: Callable[[], asyncio.Protocol]) -> None:
        self._doors, self._make = doors, make
        self._came: list[bytes] = []
        self._gone = False
        self._entering: asyncio.Task[None] | None = None  # asyncio itself keeps no hold of its tasks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        raw, waiting = cast(asyncio.Transport, transport), self._doors.waiting
        if len(waiting) >= self._doors.most:
            longest = next(iter(waiting))  # at it, of all that are
            del waiting[longest]
            longest.abort()
        waiting[raw] = None
        self._entering = asyncio.get_running_loop().create_task(self._enter(raw))

    def data_received(self, data: bytes) -> None:
        self._came.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True

    async def _enter(self, raw: asyncio.Transport) -> None:
        shaking = asyncio.get_running_loop().start_tls(
            raw, self, self._doors.context, server_side=True, ssl_handshake_timeout=HANDSHAKE_SECONDS
        )
        transport: asyncio.Transport | None = None
        with contextlib.suppress(OSError):  # whoever reaches the port can fail at it: nothing to tell
            transport = await shaking
        self._doors.waiting.pop(raw, None)
        if transport is None or self._gone:
            raw.abort()
            return
        protocol = self._make()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        for data in self._came:
            protocol.data_received(data)
